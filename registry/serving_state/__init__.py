"""The state that serving polls, and the replicas that follow it."""
