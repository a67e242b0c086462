"""Migrations: they bring a database to the schema of this code."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, insert, select, text

from portrait.registry.database.database import Database
from portrait.registry.database.tables import Instance
from portrait.registry.errors import RegistryBehind

# Alembic keeps the running migration in globals of the process.
_ONE_AT_A_TIME = threading.Lock()

# An arbitrary number; processes that upgrade one Postgres database at once wait for this lock.
_ADVISORY_LOCK = 7_077_261_811


def upgrade(database: Database) -> bool:
    """Bring the database to the newest revision and give it an instance id; True if that changed anything.

    Runs in one transaction, and several processes may call it at once. Creates the SQLite file. Raises RegistryBehind
    when the database is at a revision that this code does not know.
    """
    _create_file(database)
    with database.connecting() as connection, _without_foreign_keys(connection), connection.begin():
        if not database.is_sqlite:  # there the transaction's write lock does it
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        migrated = _migrate(database, connection)
        return _identify(connection) or migrated


def config() -> Config:
    """Alembic's configuration for this folder."""
    options = Config()
    options.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    options.set_main_option("path_separator", "os")
    return options


def head() -> str | None:
    """The newest revision among the migrations; None without any."""
    return ScriptDirectory.from_config(config()).get_current_head()


def _create_file(database: Database) -> None:
    if database.is_sqlite and database.url.database:
        path = Path(database.url.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    # SQLite alters a table by copying and dropping it, which foreign keys would forbid; the pragma
    # has no effect inside a transaction, so it goes past SQLAlchemy's.
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def _migrate(database: Database, connection: Connection) -> bool:
    before = MigrationContext.configure(connection).get_current_revision()
    if before == head():
        return False
    options = config()
    options.attributes["connection"] = connection
    try:
        with _ONE_AT_A_TIME:
            command.upgrade(options, "head")
    except CommandError as error:
        raise RegistryBehind(
            f"the registry at {database.shown_url} is at revision {before}, which this code does not know: "
            "use the newest code"
        ) from error
    if database.is_sqlite:
        _require_references(connection)
    return True


def _require_references(connection: Connection) -> None:
    dangling = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if dangling:
        raise RuntimeError(f"the migration to {head()} would leave rows that refer to nothing: {dangling[:3]}")


def _identify(connection: Connection) -> bool:
    if connection.scalar(select(Instance.id)) is not None:
        return False
    connection.execute(insert(Instance).values(id=str(uuid.uuid4()), created_at=datetime.now(UTC), generation=0))
    return True
