"""The Jupyter providers of dstack."""
