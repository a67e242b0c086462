"""A simulation of the protocol core under a seeded scheduler: `python -m tests.simulation`."""
