"""Fixtures of the feature floor: fresh instances, embedded and on servers; a log alone, and files for it."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.database.database import Database
from portrait.registry.registry import Registry
from tests.databases import copy_file
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
def repo(settings: FeatureSettings, migrated_file: Path) -> Iterator[FeatureRepo]:
    """A fresh instance with a migrated registry."""
    settings.home.mkdir()
    if not settings.registry_url:
        copy_file(migrated_file, settings.home / "registry.db")
    registry = Registry.open(settings.database_url)
    opened = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    yield opened
    opened.close()
    registry.close()


Write = Callable[..., Path]


@pytest.fixture
def log(home: Path, migrated_file: Path) -> Iterator[EventLog]:
    """An empty log on SQLite."""
    home.mkdir()
    copy_file(migrated_file, home / "registry.db")
    settings = FeatureSettings(home=home, history_length=4)
    database = Database(settings.database_url)
    yield EventLog(database, settings)
    database.close()


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, rows)` or `write(name, text)`: a Parquet file of dicts, or a file of that text."""

    def written(name: str, content: Any) -> Path:
        path = tmp_path / name
        if isinstance(content, str | bytes):
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            pq.write_table(content if isinstance(content, pa.Table) else pa.Table.from_pylist(content), path)
        return path

    return written


def event(user: str, item: str, day: int, **further: Any) -> dict[str, Any]:
    """A row of an events file: at midnight of a day of January 2024."""
    return {"user_id": user, "item_id": item, "event_time": f"2024-01-{day:02d}", **further}


NOW = datetime(2024, 6, 1, tzinfo=UTC)
"""The moment of every test's ingest."""
