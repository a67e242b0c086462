"""Applying must never destroy: the checks that stand before every `feast apply`.

Feast drops every table, vectors included, whose view the definitions no longer declare. So definitions that
would declare too little raise instead, and nothing is applied.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

from feast import FeatureView
from feast.errors import ProjectObjectNotFoundException
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.registry.sql import SqlRegistry

from portrait.feature_repo.declaration.views import EMBEDDING_VIEWS
from portrait.registry.database.tables import GONE_STATES
from portrait.registry.errors import RegistryForeign, RegistryUnusable
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
