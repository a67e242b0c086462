"""Metrics of classification and of ranking, their bootstrap intervals, and the split of users."""
