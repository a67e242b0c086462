"""Progress: the callback by which long work reports how far it has come."""

from typing import Protocol


class Progress(Protocol):
    """A callback that long work calls now and then."""

    def __call__(self, step: str, done: int, total: int, note: str = "") -> None:
        """Show that `done` of `total` parts of a step are done, with a short figure; must return quickly."""


def silent(step: str, done: int, total: int, note: str = "") -> None:
    """Show no progress."""
