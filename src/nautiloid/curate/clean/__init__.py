"""Cleaning of extracted text: by rules or by a language model that is checked."""
