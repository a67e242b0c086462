"""Reads of embeddings: look-ups, computed vectors, and answers as bytes."""
