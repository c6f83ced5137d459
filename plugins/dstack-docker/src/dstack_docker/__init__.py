"""dstack's executor for containers."""
