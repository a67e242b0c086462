"""Correction of what the log says: one event is deleted or changed, or a user's history moves to another user."""
