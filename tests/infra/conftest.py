"""The command line, in a fresh home and in a copied one."""

from pathlib import Path

import pytest

from tests.infra.commands import Commands


@pytest.fixture
def portrait(tmp_path: Path) -> Commands:
    """`portrait` in a home that does not exist yet."""
    folder = tmp_path / "printed"
    folder.mkdir()
    return Commands(folder, tmp_path / "home")
