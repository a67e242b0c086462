"""Guards of `feast apply`: checks that stop it before it drops tables with vectors.

Feast drops the table of every view that the definitions no longer declare, vectors included. So definitions that
would declare too little raise instead, and nothing is applied.

Feast's registry keeps the path of each table. After a home was copied or moved, or the store's path changed, an
apply would drop the tables at the old path, with their vectors, and make none at the new one. So these entries are
removed from the registry first: Feast then makes missing tables and leaves existing ones alone.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from feast import FeatureView, RepoConfig
from feast.errors import ProjectObjectNotFoundException
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.registry.sql import SqlRegistry, managed_infra
from feast.protos.feast.core.InfraObject_pb2 import Infra
from sqlalchemy import Engine, create_engine, inspect, select, update

from portrait.feature_repo.declaration.views import EMBEDDING_VIEWS
from portrait.registry.database.tables import GONE_STATES
from portrait.registry.errors import InvalidInput, RegistryForeign, RegistryUnusable
from portrait.registry.records.records import EmbeddingVersion

STAMP = "portrait_instance"
"""Tag of the Feast project: the id of the registry that it belongs to."""


@contextmanager
def closing_registry(feast: SqlRegistry) -> Iterator[SqlRegistry]:
    """Feast's registry for the length of a block; Feast itself never gives its connections back."""
    try:
        yield feast
    finally:
        feast.write_engine.dispose()


def require_same_instance(feast: BaseRegistry, project: str, instance: str) -> None:
    """Raise RegistryForeign when the Feast project holds views that were declared from another registry."""
    try:
        stamped = feast.get_project(project).tags.get(STAMP)
    except ProjectObjectNotFoundException:
        return  # nothing was ever applied
    if stamped != instance and (stamped or feast.list_feature_views(project)):
        raise RegistryForeign(
            f"Feast's project {project!r} belongs to the registry {stamped or '(of nobody)'}, not to {instance}: "
            "point PORTRAIT_HOME, PORTRAIT_REGISTRY_URL and PORTRAIT_FEAST_REGISTRY_URL to one instance"
        )


def require_nothing_lost(
    applied: Collection[FeatureView], declared: Collection[str], versions: Mapping[str, EmbeddingVersion]
) -> None:
    """Raise RegistryUnusable when an embedding view would vanish though its version is not being retired."""
    for view in applied:
        if view.name.startswith(EMBEDDING_VIEWS) and view.name not in declared:
            version = view.tags.get("version", "")
            if version not in versions or versions[version].state not in GONE_STATES:
                state = versions[version].state if version in versions else "unknown to it"
                raise RegistryUnusable(
                    f"Feast has the view {view.name}, and applying would drop it with its vectors, but by the registry "
                    f"its version {version or '(none)'} is {state}: is this an older copy of the registry?"
                )


def require_own_tables(feast: SqlRegistry, config: RepoConfig) -> None:
    """Raise RegistryForeign when Feast's next apply would drop tables of another database than the configured one."""
    stored, path = _stored_infra(feast.write_engine, config.project), _path(config)
    elsewhere = {one.sqlite_table.path for one in stored.infra_objects} - {path}
    if path is not None and elsewhere:
        raise RegistryForeign(
            f"Feast's project {config.project!r} has its online tables in {', '.join(sorted(elsewhere))}, and applying "
            f"would drop them for those of {path}: run `portrait apply` first, it leaves them alone"
        )


def forget_tables_elsewhere(config: RepoConfig) -> None:
    """Let Feast's registry name no table of another database than the configured one.

    To be called before Feast opens its registry: it opens the databases that it finds named there, and fails where the
    folder of one is gone.
    """
    engine = create_engine(config.registry.path)
    try:
        if inspect(engine).has_table(managed_infra.name):
            _forget_tables(engine, config)
    finally:
        engine.dispose()


def _forget_tables(engine: Engine, config: RepoConfig) -> None:
    stored, path = _stored_infra(engine, config.project), _path(config)
    own = [one for one in stored.infra_objects if one.sqlite_table.path == path]
    if path is None or len(own) == len(stored.infra_objects):
        return
    row = (managed_infra.c.project_id == config.project) & (managed_infra.c.infra_name == "infra_obj")
    with engine.begin() as connection:
        kept = Infra(infra_objects=own).SerializeToString()
        connection.execute(update(managed_infra).where(row).values(infra_proto=kept))


def _path(config: RepoConfig) -> str | None:
    """The path of the online store's database; None for a store without tables, of which Feast keeps no account."""
    store = get_online_store_from_config(config.online_store)
    if not hasattr(store, "has_tables"):
        raise InvalidInput(
            f"the online store of feature_store.yaml is {type(store).__name__}, which lets an older vector "
            "replace a newer one: write `type: ${PORTRAIT_FEAST_ONLINE_TYPE}` there, "
            "and `location: ${PORTRAIT_FEAST_ONLINE_LOCATION}`"
        )
    path: str | None = config.online_store.path if store.has_tables else None
    return path


def _stored_infra(engine: Engine, project: str) -> Infra:
    # Not by Feast's get_infra, which opens, and so makes, every database that it finds named.
    row = (managed_infra.c.project_id == project) & (managed_infra.c.infra_name == "infra_obj")
    with engine.connect() as connection:
        stored = connection.execute(select(managed_infra.c.infra_proto).where(row)).scalar()
    return Infra() if stored is None else Infra.FromString(stored)
