"""Fixtures of the study that trains."""

from pathlib import Path

import pytest

from portrait.training.clue.prepare import PreparedSequences
from tests.training.scaling.prepared import make


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data; only read from it."""
    folder = tmp_path_factory.mktemp("prepared")
    make(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(prepared_folder: Path) -> PreparedSequences:
    """The same, loaded."""
    return PreparedSequences(prepared_folder)
