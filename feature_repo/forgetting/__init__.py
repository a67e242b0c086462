"""Forgetting: everything about one user leaves every place that it can be in, one file a kind of place."""
