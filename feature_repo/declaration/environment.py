"""Feast's environment variables and configuration, made from Portrait's settings."""

import os
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import InvalidInput
from portrait.registry.settings import sqlite_url, with_psycopg

if TYPE_CHECKING:  # Feast takes seconds to import, and `portrait env` does not need it
    from feast import RepoConfig

ONLINE_TYPES = {
    "sqlite": "portrait.feature_repo.online.sqlite.PortraitSqliteOnlineStore",
    "redis": "portrait.feature_repo.online.redis.PortraitRedisOnlineStore",
}


def feast_environment(settings: FeatureSettings) -> dict[str, str]:
    """The environment variables that plain `feast` needs to work on this instance; `portrait env` prints them.

    Feast pastes them into the text of feature_store.yaml, between double quotes: what YAML would take for something
    else there is escaped. Raises InvalidInput for an online store that is neither SQLite nor Redis.
    """
    pasted = {name: _between_quotes(value) for name, value in _variables(settings).items()}
    return {
        "PORTRAIT_HOME": str(settings.home),
        "PORTRAIT_REGISTRY_URL": settings.database_url,
        "PORTRAIT_ONLINE_STORE_URL": settings.online_store_url,
        "PORTRAIT_FEATURE_REPO": str(settings.feature_repo),
        **pasted,
    }


def _variables(settings: FeatureSettings) -> dict[str, str]:
    """The values of the variables of feature_store.yaml."""
    online, location = _online_store(settings)
    return {
        "PORTRAIT_FEAST_REGISTRY_URL": feast_registry_url(settings),
        "PORTRAIT_FEAST_ONLINE_TYPE": ONLINE_TYPES[online],
        "PORTRAIT_FEAST_ONLINE_LOCATION": location,
    }


def feast_registry_url(settings: FeatureSettings) -> str:
    return with_psycopg(settings.feast_registry_url or sqlite_url(settings.home / "feast.db"))


def feast_config(settings: FeatureSettings) -> "RepoConfig":
    """Feast's configuration, from the same feature_store.yaml that its command line reads."""
    import yaml
    from feast import RepoConfig

    file = settings.feature_repo / "feature_store.yaml"
    try:
        text = file.read_text()
    except OSError as error:
        raise InvalidInput(f"{settings.feature_repo} is no Feast repository: {error.strerror} ({file})") from error
    ours = _variables(settings)
    others = {name: value for name, value in os.environ.items() if name not in ours}
    document = yaml.safe_load(Template(text).safe_substitute(others))
    return RepoConfig(**_fill(document, ours), repo_path=settings.feature_repo)


def _between_quotes(value: str) -> str:
    import yaml

    written: str = yaml.dump(value, default_style='"', allow_unicode=True, width=float("inf"))
    return written.strip()[1:-1]


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    """A document with variables filled into its texts: not before it is parsed, as paths may hold what YAML reads."""
    if isinstance(value, dict):
        return {key: _fill(part, variables) for key, part in value.items()}
    if isinstance(value, list):
        return [_fill(part, variables) for part in value]
    return Template(value).safe_substitute(variables) if isinstance(value, str) else value


def missing_variables(environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that feature_store.yaml needs and `environment` lacks."""
    needed = ("PORTRAIT_FEAST_REGISTRY_URL", "PORTRAIT_FEAST_ONLINE_TYPE", "PORTRAIT_FEAST_ONLINE_LOCATION")
    return [name for name in needed if not environment.get(name)]


def _online_store(settings: FeatureSettings) -> tuple[str, str]:
    """Kind of the online store ("sqlite" or "redis"), and its path or URL."""
    if not settings.online_store_url:
        return "sqlite", str(settings.home / "online.db")
    url = make_url(settings.online_store_url)
    if url.drivername in ("redis", "rediss"):
        return "redis", settings.online_store_url
    if url.drivername == "sqlite":
        return "sqlite", str(Path(url.database or "").resolve())
    shown = url.render_as_string(hide_password=True)
    raise InvalidInput(f"PORTRAIT_ONLINE_STORE_URL {shown}: use redis://host:port/db, or leave it empty for SQLite")
