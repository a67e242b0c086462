from collections.abc import Iterator

import pytest

from infra.migrations import upgrade
from registry.registry import Registry


@pytest.fixture
def registry(database_url: str) -> Iterator[Registry]:
    """An empty registry, on SQLite and on Postgres."""
    opened = Registry.open(database_url)
    upgrade(opened.database)
    yield opened
    opened.close()
