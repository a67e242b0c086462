"""The gateway: its ASGI application, the parts behind it, and its deployment on Ray Serve."""
