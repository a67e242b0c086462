"""Purging of deleted bytes: databases keep the bytes of deleted rows until they rewrite their files."""

from pathlib import Path

from sqlalchemy.exc import DBAPIError

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.log.tables import InboxRow, RefreshRequestRow
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.database.compaction import compact
from portrait.registry.database.database import Database

LOCK_SECONDS = 10
"""How long a vacuum of Postgres waits for another one of the same table."""


def purge(repo: FeatureRepo, broker: Broker | None) -> list[str]:
    """Have all stores of deleted rows rewrite their files; returns a sentence for each thing that could not be done."""
    database = repo.log.database
    own = compact(Path(database.url.database or "")) if database.is_sqlite else _vacuum_tables(database)
    streams = [] if broker is None else broker.purge()
    return [*own, *streams, *repo.online.purge(repo.config)]


def _vacuum_tables(database: Database) -> list[str]:
    left = []
    with database.connecting() as connection:
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        plain.exec_driver_sql(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        for table in (InboxRow.__tablename__, RefreshRequestRow.__tablename__):
            try:
                plain.exec_driver_sql(f"VACUUM {table}")
            except DBAPIError as error:
                left.append(f"table {table} could not be vacuumed ({type(error.orig).__name__}): run VACUUM {table}")
        plain.exec_driver_sql("RESET lock_timeout")
    return left
