"""Inspection of versions: the evidence for the gates, and the difference between two versions."""
