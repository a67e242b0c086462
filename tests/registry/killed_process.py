"""A process that changes what a consumer reads, and is killed where a test wants it."""

import os
import signal
from itertools import count
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from portrait.registry.registry import Registry

CHANGES = ("promote", "first promotion", "canary", "finish", "abort", "rollback")


def prepare(registry: Registry, consumer: str, change: str) -> None:
    """Add a consumer, and bring it where the change can be made."""
    registry.consumers.add(consumer, "team", "")
    if change == "first promotion":
        return
    registry.promotions.promote(consumer, "autoencoder-1")
    if change in ("finish", "abort"):
        registry.promotions.promote(consumer, "autoencoder-2", canary_share=0.1)
    if change == "rollback":
        registry.promotions.promote(consumer, "autoencoder-2")
        registry.promotions.promote(consumer, "autoencoder-3", canary_share=0.1)


def make(registry: Registry, consumer: str, change: str) -> None:
    """The change itself."""
    match change:
        case "promote" | "first promotion":
            registry.promotions.promote(consumer, "autoencoder-2", "why not")
        case "canary":
            registry.promotions.promote(consumer, "autoencoder-2", "why not", canary_share=0.1)
        case "finish":
            registry.promotions.finish_canary(consumer, "why not")
        case "abort":
            registry.promotions.abort_canary(consumer, "why not")
        case "rollback":
            registry.promotions.rollback(consumer, "why not")


def die_at(url: str, consumer: str, change: str, point: int) -> None:
    """Make a change, but be gone (SIGKILL) at its n-th point, from 1.

    Points are: before each SQL statement (so, after the one before), before the commit, after the commit.
    """
    registry = Registry.open(url, "ada")
    reached = 0

    def reach(*_: Any) -> None:
        nonlocal reached
        reached += 1
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(registry.database.engine, "before_cursor_execute", reach)
    event.listen(registry.database.engine, "commit", reach)
    event.listen(Session, "after_commit", reach)
    make(registry, consumer, change)
    registry.close()


def change_for_ever(url: str, consumer: str) -> None:
    """Go through every kind of change again and again, until somebody ends this."""
    promotions = Registry.open(url, "ada").promotions
    for n in count():
        promotions.promote(consumer, f"autoencoder-{n % 2 + 1}", "on we go")
        promotions.promote(consumer, "autoencoder-3", canary_share=0.1)
        promotions.promote(consumer, "autoencoder-3", canary_share=0.2)
        if n % 3 == 0:
            promotions.abort_canary(consumer)
        elif n % 3 == 1:
            promotions.finish_canary(consumer)
            promotions.rollback(consumer)
