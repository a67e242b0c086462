"""The declaration of an instance to Feast, generated from the registry and the teams' files."""

import os
from pathlib import Path
from typing import Any

from feast import FeatureService, FeatureView, Project
from feast.infra.registry.sql import SqlRegistry

from portrait.feature_repo import entities
from portrait.feature_repo.declaration import views
from portrait.feature_repo.declaration.apply_guard import (
    STAMP,
    closing_registry,
    require_nothing_lost,
    require_own_tables,
    require_same_instance,
)
from portrait.feature_repo.declaration.environment import feast_config, missing_variables
from portrait.feature_repo.declaration.source_files import catalogue_schema
from portrait.feature_repo.declaration.team_views import load_team_views
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database
from portrait.registry.database.tables import GONE_STATES
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.serving_state.serving_state import ServingState, read_state


def declare(folder: Path) -> dict[str, Any]:
    """Every Feast object of this instance by a Python name, as definitions.py shows them to Feast.

    Settings come from the environment. Raises a RegistryUnusable when the registry is missing, empty, behind
    its migrations, another instance's, or would lose an embedding view; InvalidInput when the environment is
    not set.
    """
    if missing := missing_variables(os.environ):
        raise InvalidInput(f'{", ".join(missing)} not set: run `eval "$(portrait env)"` before calling feast')
    settings = FeatureSettings()
    database = Database(settings.database_url)
    try:
        instance = database.require_current()
        state = read_state(database)
        schema = profile_schema(EventLog(database, settings))
    finally:
        database.close()
    config = feast_config(settings)
    declared = _raw_views(settings.home, schema) | _embedding_views(settings.home, state)
    with closing_registry(SqlRegistry(config.registry, config.project, None)) as feast:
        require_same_instance(feast, config.project, instance)
        require_own_tables(feast, config)
        require_nothing_lost(feast.list_feature_views(config.project), declared.keys(), state.versions)
    inputs = [declared[views.HISTORY_VIEW], declared[views.PROFILE_VIEW], *load_team_views(folder)]
    services = _services(state, declared) | {views.INPUTS_SERVICE: views.representation_inputs(inputs)}
    return {
        "project": Project(
            name=config.project, tags={STAMP: instance}, description="One learned portrait of every user."
        ),
        **{f"entity_{entity.name}": entity for entity in (entities.user, entities.service, entities.item)},
        **declared,
        **{f"service_{name}": declared_service for name, declared_service in services.items()},
    }


def _raw_views(home: Path, schema: Any) -> dict[str, FeatureView]:
    raw = (
        views.user_history(home),
        views.user_profile(home, schema),
        views.item_catalogue(home, catalogue_schema(home)),
    )
    return {view.name: view for view in raw}


def _embedding_views(home: Path, state: ServingState) -> dict[str, FeatureView]:
    # A failed version keeps its view until it is retired, like every other: only retiring drops vectors.
    kept = (version for version in state.versions.values() if version.state not in GONE_STATES)
    return {view.name: view for view in (views.embedding_view(home, version) for version in kept)}


def _services(state: ServingState, declared: dict[str, FeatureView]) -> dict[str, FeatureService]:
    if views.INPUTS_SERVICE in state.consumers:
        raise Conflict(f"a consumer cannot be named {views.INPUTS_SERVICE}: that is the service of the models' inputs")
    services = {}
    for name, assignment in state.assignments.items():
        version = state.versions[assignment.stable]
        if (view := declared.get(views.view_name(version.id))) is not None:
            services[name] = views.consumer_service(state.consumers[name], version, view)
    return services
