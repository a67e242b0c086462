"""Where Feast believes the tables of the SQLite online store to be.

It keeps the path of each table in its registry. When a home was copied or moved, or the store's path changed, its
apply would drop the tables at the old path, with their vectors, and make none at the new one. So that belief is
dropped instead: tables that nobody believes in are made where they are missing, and left alone where they are not.
"""

from feast import RepoConfig
from feast.infra.registry.sql import SqlRegistry, managed_infra
from feast.protos.feast.core.InfraObject_pb2 import Infra
from sqlalchemy import select, update

from portrait.registry.errors import RegistryForeign


def require_own_tables(feast: SqlRegistry, config: RepoConfig) -> None:
    """Raise RegistryForeign when Feast's next apply would drop tables of another database than the configured one."""
    stored, path = _stored(feast, config.project), _path(config)
    elsewhere = {one.sqlite_table.path for one in stored.infra_objects} - {path}
    if path is not None and elsewhere:
        raise RegistryForeign(
            f"Feast's project {config.project!r} has its online tables in {', '.join(sorted(elsewhere))}, and applying "
            f"would drop them for those of {path}: run `portrait apply` first, it leaves them alone"
        )


def forget_tables_elsewhere(feast: SqlRegistry, config: RepoConfig) -> None:
    """Let Feast's registry name no table of another database than the configured one."""
    stored, path = _stored(feast, config.project), _path(config)
    own = [one for one in stored.infra_objects if one.sqlite_table.path == path]
    if path is None or len(own) == len(stored.infra_objects):
        return
    row = (managed_infra.c.project_id == config.project) & (managed_infra.c.infra_name == "infra_obj")
    with feast.write_engine.begin() as connection:
        kept = Infra(infra_objects=own).SerializeToString()
        connection.execute(update(managed_infra).where(row).values(infra_proto=kept))


def _path(config: RepoConfig) -> str | None:
    """The path of the SQLite database; None for other stores, of whose tables Feast keeps no account."""
    path: str | None = getattr(config.online_store, "path", None)
    return path


def _stored(feast: SqlRegistry, project: str) -> Infra:
    # Not by Feast's get_infra, which opens, and so makes, every database that it finds named.
    row = (managed_infra.c.project_id == project) & (managed_infra.c.infra_name == "infra_obj")
    with feast.write_engine.connect() as connection:
        stored = connection.execute(select(managed_infra.c.infra_proto).where(row)).scalar()
    return Infra() if stored is None else Infra.FromString(stored)
