"""Shipped recipes of `nautiloid sft`."""
