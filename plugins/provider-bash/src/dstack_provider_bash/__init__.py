"""The bash provider of dstack."""
