"""Consumers and their heads."""
