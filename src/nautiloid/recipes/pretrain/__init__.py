"""Shipped recipes of `nautiloid pretrain`."""
