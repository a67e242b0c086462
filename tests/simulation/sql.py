"""The SQL database of a schedule: the real tables in memory, copied from a prepared one, and the wire to it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from portrait.registry.database.database import CLOCK, Database
from tests.simulation.wire import Clock, Wire

START = datetime(2026, 1, 1, tzinfo=UTC)


class MemoryServer:
    """One SQLite database in memory, of all processes of a schedule; backups are images of it."""

    def __init__(self) -> None:
        self.raw = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.raw.execute("PRAGMA foreign_keys=ON")
        for pragma in ("journal_mode=MEMORY", "synchronous=OFF", "temp_store=MEMORY"):
            self.raw.execute(f"PRAGMA {pragma}")
        self.engine = _engine(self.raw)

    def image(self) -> sqlite3.Connection:
        """A copy of all tables as they are now."""
        copy = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self.raw.backup(copy)
        return copy

    def restore(self, image: sqlite3.Connection) -> None:
        """Put all tables back as they were."""
        image.backup(self.raw)


def _engine(raw: sqlite3.Connection) -> Engine:
    engine = create_engine(
        "sqlite://", creator=lambda: raw, poolclass=StaticPool, pool_reset_on_return=None, hide_parameters=True
    )

    @event.listens_for(engine, "begin")
    def _begin(_: Connection) -> None:
        raw.execute("BEGIN")

    return engine


class SimulatedDatabase(Database):
    """A process's handle on the database. A transaction is one step: nobody is paused inside, but it may fail."""

    def __init__(self, server: MemoryServer, wire: Wire, clock: Clock) -> None:
        self.url = make_url("sqlite://")
        self.engine = self._reader = server.engine
        self._patience = None
        self._info = {CLOCK: lambda: START + timedelta(seconds=clock.now + clock.off)}
        self._wire = wire

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that may not begin, not commit, or commit without an answer."""
        self._wire.before("sql", "transaction")
        with self._unpaused(), super().transaction() as session:
            yield session
            self._wire.before_commit()
        self._wire.after("sql", "transaction")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A view of one moment."""
        self._wire.before("sql", "read")
        with self._unpaused(), super().reading() as session:
            yield session

    @contextmanager
    def connecting(self) -> Iterator[Any]:
        """A bare connection."""
        self._wire.before("sql", "read")
        with self._unpaused(), super().connecting() as connection:
            yield connection

    @contextmanager
    def _unpaused(self) -> Iterator[None]:
        steps = self._wire.steps
        steps.atomic += 1
        try:
            yield
        finally:
            steps.atomic -= 1
