"""Blocks: the row that tells a user to a model, computed the same way wherever it is needed."""
