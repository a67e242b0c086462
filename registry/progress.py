"""Progress: the callback by which long work reports how far it has come."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then with the step's name, the parts done and the parts in all, and perhaps a figure."""

    def __call__(self, step: str, done: int, total: int, note: str = "") -> None:
        """Show it; must return quickly."""


def silent(step: str, done: int, total: int, note: str = "") -> None:
    """Show nothing."""
