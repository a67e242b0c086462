"""Suites of measurements beside the claims of papers: CLUE's, GUR's, and the cost of features."""
