import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from portrait.infra.migrations import upgrade
from portrait.registry.registry import Registry


@pytest.fixture
def registry(database_url: str, migrated_file: Path) -> Iterator[Registry]:
    """An empty registry, on SQLite and on Postgres."""
    opened = Registry.open(database_url)
    if opened.database.is_sqlite:
        shutil.copyfile(migrated_file, str(make_url(database_url).database))
    else:
        upgrade(opened.database)
    yield opened
    opened.close()
