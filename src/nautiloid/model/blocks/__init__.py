"""Block types, one folder each."""
