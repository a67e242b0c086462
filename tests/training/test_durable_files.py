"""Files written by processes that are killed: all of the text, or what was there before."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portrait.training.durable_files import write_whole
from tests.killed import Killed


@contextmanager
def killed_amid_writing() -> Iterator[None]:
    """Whatever is written ends when the file is open and empty."""

    def killed(path: Path, text: str) -> int:
        path.open("w").close()
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path, "write_text", killed)
        yield


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    write_whole(path, "[1]")
    with killed_amid_writing():
        write_whole(path, "[1, 2]")
    assert json.loads(path.read_text()) == [1]
    write_whole(path, "[1, 2]")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("numbers.json", "[1, 2]")]
