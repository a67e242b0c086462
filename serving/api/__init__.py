"""The HTTP API: thin routers over the reader and the registry."""
