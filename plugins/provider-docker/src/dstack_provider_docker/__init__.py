"""The docker provider of dstack."""
