"""A log in a fresh home, and short ways to write canonical files."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.log.event_log import EventLog
from feature_repo.settings import FeatureSettings
from infra.migrations import upgrade
from registry.database import Database

Write = Callable[..., Path]


@pytest.fixture
def log(home: Path) -> Iterator[EventLog]:
    """An empty log on SQLite."""
    home.mkdir()
    settings = FeatureSettings(home=home, history_length=4)
    database = Database(settings.database_url)
    upgrade(database)
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
