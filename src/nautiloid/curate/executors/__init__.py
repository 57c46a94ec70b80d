"""One file an executor."""
