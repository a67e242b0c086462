"""Floor 4: the Ray Serve gateway and the Python client; `serving.client` loads neither torch, Ray nor Feast."""
