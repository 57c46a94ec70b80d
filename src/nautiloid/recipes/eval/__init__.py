"""Recipes of the verb eval."""
