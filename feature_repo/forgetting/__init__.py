"""Forgetting of users: deletion of a user's data from every place that holds it, and the report of it."""
