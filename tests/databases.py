"""Migrated databases for tests: made once, then copied (SQLite) or emptied and used again (Postgres)."""

import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, create_engine, insert, select, text

from portrait.feature_repo.log import tables as log_tables  # noqa: F401  (so that Base knows them)
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from portrait.registry.database.tables import Base, Instance


def migrate(url: str) -> None:
    """Bring an empty database to the newest schema."""
    database = Database(url)
    try:
        upgrade(database)
    finally:
        database.close()


def copy_file(template: Path, path: Path) -> Path:
    """A copy of a migrated SQLite file, as an instance of its own."""
    shutil.copyfile(template, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {Instance.__tablename__} SET id = ?", [str(uuid.uuid4())])
    return path


Rows: TypeAlias = dict[str, list[dict[str, Any]]]
"""By table."""


def read_rows(url: str) -> Rows:
    """All rows of our tables."""
    engine = create_engine(url)
    with engine.connect() as connection:
        tables = Base.metadata.sorted_tables
        rows = {table.name: [dict(row) for row in connection.execute(select(table)).mappings()] for table in tables}
    engine.dispose()
    return rows


def write_rows(url: str, rows: Rows) -> None:
    """Have a migrated database hold these rows and no others, whichever server they come from."""
    engine, tables = create_engine(url), Base.metadata.sorted_tables
    with engine.begin() as connection:
        for table in reversed(tables):
            connection.execute(table.delete())
        for table in tables:
            if rows[table.name]:
                connection.execute(insert(table), rows[table.name])
        if engine.dialect.name == "postgresql":  # which counts by itself, not by what is there
            for table in tables:
                for column in table.primary_key if len(table.primary_key) == 1 else ():
                    counter = f"pg_get_serial_sequence('{table.name}', '{column.name}')"
                    most = f"(SELECT max({column.name}) FROM {table.name})"
                    if connection.scalar(text(f"SELECT {counter}")) and connection.scalar(text(f"SELECT {most}")):
                        connection.execute(text(f"SELECT setval({counter}, {most})"))
    engine.dispose()


class EmptiedPostgres:
    """A migrated Postgres database that one test after the other has to itself.

    Making and dropping one for each test takes a second and a half, most of it checkpoints. Deleting the few rows of a
    test takes 0.05 s, and TRUNCATE 0.4 s: it makes new files for each table and index.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        migrate(url)
        with self._connected() as connection:
            self._own = set(_tables(connection))
            self._schema = self._described(connection)

    def empty(self) -> None:
        """Cut whoever is left, drop what is not ours (Feast's tables), and leave a new instance without rows."""
        with self._connected() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            connection.execute(text(f"{others} AND pid <> pg_backend_pid()"))
            for table in set(_tables(connection)) - self._own:
                connection.execute(text(f'DROP TABLE "{table}" CASCADE'))
            if self._described(connection) == self._schema:
                sequences = connection.scalars(
                    text("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
                )
                statements = [f"SELECT setval('{name}', 1, false)" for name in sequences]
                statements += [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)]
                connection.execute(text("; ".join(statements)))
                values = {"id": str(uuid.uuid4()), "created_at": datetime.now(UTC), "generation": 0}
                connection.execute(insert(Instance).values(**values))
                return
            connection.execute(text("DROP SCHEMA public CASCADE"))  # a test has changed tables
            connection.execute(text("CREATE SCHEMA public"))
        migrate(self.url)

    def _described(self, connection: Connection) -> set[str]:
        """Columns, constraints, indexes and triggers of our tables, and the revision."""
        columns = "SELECT table_name || column_name || data_type || is_nullable FROM information_schema.columns"
        others = "conname FROM pg_constraint", "indexname FROM pg_indexes", "tgname FROM pg_trigger"
        found = set(connection.scalars(text(f"{columns} WHERE table_schema = 'public'")))
        found |= {name for query in others for name in connection.scalars(text(f"SELECT {query}"))}
        if "alembic_version" in _tables(connection):
            found |= set(connection.scalars(text("SELECT version_num FROM alembic_version")))
        return found

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()


def _tables(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
