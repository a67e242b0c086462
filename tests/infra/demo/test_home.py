"""The demo's home: made anew, and never a folder with somebody's data."""

from pathlib import Path

import pytest

from portrait.infra.demo.walk import MARKER, fresh_home
from portrait.registry.errors import InvalidInput


def test_a_home_is_made_and_made_anew(tmp_path: Path) -> None:
    home = fresh_home(tmp_path / "new" / "home")
    assert [path.name for path in home.iterdir()] == [MARKER]
    (home / "log").mkdir()
    (home / "log" / "segment.parquet").touch()
    assert fresh_home(home) == home
    assert [path.name for path in home.iterdir()] == [MARKER]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    assert (fresh_home(tmp_path) / MARKER).is_file()


@pytest.mark.parametrize("name", ["registry.db", ".hidden", f"{MARKER}.txt"])
def test_a_folder_with_anything_of_somebody_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(InvalidInput, match=f"{tmp_path} is not empty and no demo made it"):
        fresh_home(tmp_path)
    assert (tmp_path / name).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_a_folder_called_like_the_marker_is_no_marker(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()
    with pytest.raises(InvalidInput):
        fresh_home(tmp_path)
    assert (tmp_path / MARKER).is_dir()


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidInput, match=r"file is no folder"):
        fresh_home(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
