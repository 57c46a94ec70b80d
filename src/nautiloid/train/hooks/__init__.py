"""The shipped hooks, one a file."""
