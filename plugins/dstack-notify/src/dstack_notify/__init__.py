"""Tells when a run is over: on the desktop, or by a command of the user's."""
