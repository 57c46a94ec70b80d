"""One page beside its extraction: source, text and formulas, in a browser."""
