"""Data: tokenizer, renderers, sources, mixing, packing, batches, loader."""
