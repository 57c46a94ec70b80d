"""Operators: a plain reference each, and fast variants."""
