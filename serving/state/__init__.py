"""The polled state of a process: assignments, routing, heartbeat, and the copy on disk."""
