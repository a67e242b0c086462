"""Kill -9 of every process at random moments of a stream of events: nothing is lost and nothing doubled.

`python -m tests.torture --rounds 20`, or `make torture`.
"""
