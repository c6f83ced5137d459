"""dstack on this machine: folder store, local backend, process executor."""
