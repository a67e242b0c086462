"""Embedding versions: registration, backfills, evidence and retirement."""
