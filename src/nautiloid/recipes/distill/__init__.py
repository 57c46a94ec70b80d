"""Shipped recipes of `nautiloid distill`."""
