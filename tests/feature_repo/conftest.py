"""Fixtures of the feature floor: fresh instances, embedded and on servers."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.log.event_log import EventLog
from feature_repo.settings import FeatureSettings
from feature_repo.store import FeatureRepo
from infra.migrations import upgrade
from registry.registry import Registry
from tests.feature_repo.instance import FOLDER


@pytest.fixture(params=["embedded", "servers"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> FeatureSettings:
    """SQLite everywhere, or Postgres and Redis, by settings alone; the repository's folder is a copy."""
    folder = tmp_path / "repo"
    folder.mkdir()
    for name in ("definitions.py", "feature_store.yaml", ".feastignore"):
        shutil.copy(FOLDER / name, folder)
    common = {"home": tmp_path / "home", "feature_repo": folder}
    if request.param == "embedded":
        return FeatureSettings(**common)
    postgres = request.getfixturevalue("postgres_url")
    return FeatureSettings(
        **common,
        registry_url=postgres,
        feast_registry_url=postgres,
        online_store_url=request.getfixturevalue("redis_url"),
    )


@pytest.fixture
def repo(settings: FeatureSettings) -> Iterator[FeatureRepo]:
    """A fresh instance with a migrated registry."""
    settings.home.mkdir()
    registry = Registry.open(settings.database_url)
    upgrade(registry.database)
    opened = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    yield opened
    opened.close()
    registry.close()
