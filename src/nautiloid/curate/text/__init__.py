"""Text of a document: where its formulas and code lie, its words and lines."""
