"""Serving state."""
