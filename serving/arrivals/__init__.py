"""Arrivals: events, users and items that come over HTTP."""
