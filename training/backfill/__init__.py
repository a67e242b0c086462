"""Backfill of a version's vectors, and the vectors at rest that it writes."""
