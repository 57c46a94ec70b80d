"""Models: configs, blocks, the decoder, families, weights."""
