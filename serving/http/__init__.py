"""HTTP: access, metrics, errors as problems, and the shortcut for hot requests."""
