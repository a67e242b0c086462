"""Adapters: public data sets to canonical tables."""
