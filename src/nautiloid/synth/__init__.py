"""Data made and judged by models."""
