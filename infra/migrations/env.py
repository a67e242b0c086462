"""The entry of Alembic: one history over the tables of all floors.

`upgrade` hands over its connection; a developer's `alembic -c infra/migrations/alembic.ini` has none and uses the
database of the settings.
"""

from alembic import context
from sqlalchemy import Connection

from portrait.feature_repo.log import tables as log_tables
from portrait.registry.database import tables
from portrait.registry.database.database import Database
from portrait.registry.settings import RegistrySettings

TABLES = (tables, log_tables)  # imported so that Base knows them


def _run_migrations(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=tables.Base.metadata,
        transactional_ddl=True,  # on SQLite too: Database begins its transactions itself
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    _run_migrations(given)
else:
    with Database(RegistrySettings().database_url).engine.begin() as own:
        _run_migrations(own)
