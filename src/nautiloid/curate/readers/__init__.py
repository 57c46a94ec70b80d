"""Where pages and documents come from, one file a format."""
