"""How long-running work tells where it is."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done)."""


def silent(_done: int, _total: int, _message: str) -> None:
    """Show nothing."""
