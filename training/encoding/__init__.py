"""Encoding of users into vectors: encoder, artifact, families, vocabularies and items that appear after training."""
