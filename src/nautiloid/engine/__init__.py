"""Cached, batched generation."""
