"""The registry's database: one engine, short transactions, a limit on waiting, and checks of the schema."""

import math
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from portrait.registry.database.driver_errors import translate
from portrait.registry.database.tables import Instance
from portrait.registry.errors import RegistryBehind, RegistryMissing, Unavailable


class Patience:
    """Cuts the connections of an engine when a block takes longer than `seconds`.

    A server that hangs, or a proxy before it, may keep a connection open and never answer. Nothing in libpq ends that
    wait: `connect_timeout` covers connecting only, the server itself enforces `statement_timeout`, and TCP sees a
    healthy connection. Whoever waits on a connection that is cut gets the error of a lost connection.
    """

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._seconds = seconds
        self._open: WeakSet[Any] = WeakSet()
        # Before all other listeners: SQLAlchemy's own sends the first queries over a new connection.
        event.listen(engine, "connect", self._opened, insert=True)

    @contextmanager
    def limit(self) -> Iterator[None]:
        """Limit the time of a block."""
        timer = threading.Timer(self._seconds, self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _opened(self, connection: Any, _record: Any) -> None:
        self._open.add(connection)

    def _cut(self) -> None:
        for connection in list(self._open):
            with suppress(OSError, psycopg.Error):  # closed in the meantime
                _shut_down(connection.fileno())


def _shut_down(number: int) -> None:
    with socket.socket(fileno=os.dup(number)) as wire:
        wire.shutdown(socket.SHUT_RDWR)


# The Alembic revision that this code works with; a test compares it with the newest migration.
SCHEMA_REVISION = "0004"

CONNECT_SECONDS = 10
"""How long a Postgres may take to accept a connection."""

BUSY_SECONDS = 30
"""How long a SQLite connection waits for another one's write to end."""


CLOCK = "clock"
"""The key in a session's `info` of the clock of an embedded database; a server has its own."""


def utc_now() -> datetime:
    """The time of this machine, in UTC."""
    return datetime.now(UTC)


class Database:
    """The SQL database that holds the registry and the event log's manifest.

    SQLite runs in WAL mode and takes its write lock when a transaction begins, so that a
    read-then-write transaction never fails half-way; Postgres uses its defaults.

    Safe to share between threads. It can be pickled, to Ray workers for instance: the copy opens connections of its
    own. Errors of the drivers leave its blocks as errors of portrait.registry.errors.

    With `patience`, in seconds, a block over a Postgres that does not answer in time raises Unavailable, and all
    connections of this object are cut. So give it only to an object that serves short queries and nothing else.
    """

    def __init__(self, url: str, patience: float | None = None, clock: Callable[[], datetime] = utc_now) -> None:
        self._info = {CLOCK: clock}
        self.url = _with_driver(make_url(url))
        self.engine = _engine(self.url, patience or CONNECT_SECONDS)
        self._patience = Patience(self.engine, patience) if patience and not self.is_sqlite else None
        # One snapshot for all statements of a reading block, as SQLite gives it by itself.
        options = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reader = self.engine.execution_options(read_only=True, **options)

    def __reduce__(self) -> tuple[type["Database"], tuple[str]]:
        return type(self), (self.url.render_as_string(hide_password=False),)

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is in use."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A read-write transaction: committed when the block ends, rolled back when it raises."""
        with self._translated(), self._session(self.engine) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read-only session that sees one moment of the database; it never waits for a writer."""
        with self._translated(), self._session(self._reader) as session:
            yield session

    @contextmanager
    def connecting(self) -> Iterator[Connection]:
        """A bare connection without a session, for migrations."""
        with self._translated(), self.engine.connect() as connection:
            yield connection

    def require_current(self) -> str:
        """The instance id of this registry.

        Raises RegistryMissing when there is no database or it has no tables, RegistryBehind when its schema is not
        that of this code, Unavailable when the server does not answer.
        """
        with self.reading() as session:
            revision = _revision(session.connection())
            if revision is None:
                raise RegistryMissing(f"the registry at {self.shown_url} is empty: run `portrait apply` first")
            if revision != SCHEMA_REVISION:
                raise RegistryBehind(
                    f"the registry at {self.shown_url} is at revision {revision}, this code needs {SCHEMA_REVISION}: "
                    "run `portrait apply` with the newest code"
                )
            instance: str | None = session.scalar(select(Instance.id))
        if instance is None:
            raise RegistryMissing(f"the registry at {self.shown_url} has no instance id: run `portrait apply` first")
        return instance

    def _session(self, engine: Engine) -> Session:
        return Session(engine, expire_on_commit=False, info=self._info)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()

    def _limited(self) -> AbstractContextManager[None]:
        return self._patience.limit() if self._patience else nullcontext()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # Opening a SQLite file that is not there would create it.
        if self.is_sqlite and not Path(self.url.database or "").exists():
            raise RegistryMissing(f"there is no registry at {self.shown_url}: run `portrait apply` first")
        try:
            with self._limited():
                yield
        except StatementError as error:
            ours = translate(error, self.shown_url)
            if ours is None:
                raise
            raise ours from error
        except PoolTimeout as error:
            raise Unavailable(f"the registry at {self.shown_url} has no connection left: {error}") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _with_driver(url: URL) -> URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def _engine(url: URL, connect_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        # Parameters, the digest of a key for instance, stay out of errors and so out of logs.
        # Without a limit, connecting to a lost server waits until TCP gives up, which takes minutes.
        limit = {} if "connect_timeout" in url.query else {"connect_timeout": math.ceil(connect_seconds)}
        return create_engine(url, pool_pre_ping=True, connect_args=limit, hide_parameters=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        _use_wal(connection)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    # Switching to WAL does not wait for other connections as statements do, so two processes
    # that open a new file at once need this loop; once switched, it stays so.
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.01)
