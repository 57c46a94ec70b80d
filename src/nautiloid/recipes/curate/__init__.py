"""Recipes of `nautiloid curate`."""
