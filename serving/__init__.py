"""Floor 4: the Ray Serve gateway, the refresh, and the Python client, which loads neither torch, Ray nor Feast."""
