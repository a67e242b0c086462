"""Arrivals."""
