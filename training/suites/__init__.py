"""Comparisons of the papers, each with its report."""
