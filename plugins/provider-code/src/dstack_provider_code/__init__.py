"""The code provider of dstack: VS Code in the browser."""
