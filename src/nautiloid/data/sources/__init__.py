"""The shipped data sources, one file each."""
