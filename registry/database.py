"""The registry's database: one engine, short transactions, and the checks that make it safe to rely on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Session

from registry.errors import RegistryBehind, RegistryMissing, Unavailable

# The Alembic revision that this code works with; a test holds it to the newest migration.
SCHEMA_REVISION = "0001"


class Base(DeclarativeBase):
    """Declarative base of all tables, of every floor: one Alembic history covers them."""


class Database:
    """The SQL database that holds the registry and the event log's manifest.

    SQLite runs in WAL mode and takes its write lock when a transaction begins, so that a
    read-then-write transaction never fails half-way; Postgres uses its defaults.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.engine = _engine(url)

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is in use."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A read-write transaction: committed when the block ends, rolled back when it raises."""
        with self._translated(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read-only session; on SQLite it never waits for a writer."""
        with self._translated(), Session(self.engine.execution_options(read_only=True)) as session:
            yield session

    def require_current(self) -> str:
        """The instance id of this registry.

        Raises RegistryMissing when there is no database or no tables, RegistryBehind when its
        schema is another than the code's, Unavailable when the server does not answer.
        """
        from registry.tables import Instance

        if self.is_sqlite and not Path(self.url.database or "").exists():
            raise RegistryMissing(f"there is no registry at {self.shown_url}: run `portrait apply` first")
        with self.reading() as session:
            revision = _revision(session.connection())
            if revision is None:
                raise RegistryMissing(f"the registry at {self.shown_url} is empty: run `portrait apply` first")
            if revision != SCHEMA_REVISION:
                raise RegistryBehind(
                    f"the registry at {self.shown_url} is at revision {revision}, this code needs {SCHEMA_REVISION}: "
                    "run `portrait apply` with the newest code"
                )
            instance = session.scalar(select(Instance.id))
        if instance is None:
            raise RegistryMissing(f"the registry at {self.shown_url} has no instance id: run `portrait apply` first")
        return instance

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Give back all connections."""
        self.engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise Unavailable(f"the registry at {self.shown_url} does not answer: {error.orig}") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return revision


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("read_only", False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
