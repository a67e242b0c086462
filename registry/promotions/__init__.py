"""Promotions, canaries and rollbacks, the facts that gates judge, and the rollback windows."""
