from collections.abc import Iterator

import pytest

from portrait.registry.registry import Registry


@pytest.fixture
def registry(database_url: str) -> Iterator[Registry]:
    """An empty registry, on SQLite and on Postgres."""
    opened = Registry.open(database_url)
    yield opened
    opened.close()
