"""Histories of users: the fold of the log, snapshots, reads as of a time, and the item catalogue."""
