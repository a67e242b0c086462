"""Files written by processes that are killed: all of the text, or what was there before."""

import hashlib
import json
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portrait.feature_repo.log import durable_files
from portrait.feature_repo.log.durable_files import file_digest, replacement, write_whole
from portrait.feature_repo.log.manifest import Manifest
from portrait.feature_repo.log.staging import scratch_files, sweep
from tests.forks import FORKS
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


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("before", [None, "before"])
def test_after_an_error_all_is_as_before(before: str | None, durable: bool, tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    if before is not None:
        path.write_text(before)
    with pytest.raises(OSError, match="full"), replacement(path, durable=durable) as scratch:
        scratch.write_text("half")
        raise OSError("the disk is full")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({path.name: before} if before else {})


def test_two_who_write_at_once_are_not_in_each_others_way(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    with replacement(path) as one, replacement(path) as other:
        one.write_text("one, which ends last")
        other.write_text("other")
        assert not path.exists()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(path.name, "one, which ends last")]


@pytest.mark.parametrize("name", ["numbers.json", "rows.parquet"])
def test_no_reader_looks_for_what_is_being_written(name: str, tmp_path: Path) -> None:
    with replacement(tmp_path / name) as scratch:
        scratch.touch()
        assert scratch.parent == tmp_path and scratch.suffix not in (".json", ".parquet")
        assert list(tmp_path.glob("[!.]*")) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_is_as_of_any_other_file(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "numbers.json", "[1]")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "numbers.json").stat().st_mode) == mode


def test_it_is_on_disk_before_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "numbers.json", list[tuple[Path, bool]]()
    monkeypatch.setattr(durable_files, "sync", lambda file: synced.append((file, path.exists())))
    with replacement(path) as scratch:
        scratch.touch()
    assert synced == [(scratch, False), (tmp_path, True)]
    with replacement(path, durable=False) as other:
        other.touch()
    assert len(synced) == 2


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def write_and_die(path: Path) -> None:
    with replacement(path) as scratch:
        scratch.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_next_writer_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    path = tmp_path / "num[b]ers*.parquet"
    for of in (path, tmp_path / "other.json"):
        process = FORKS.Process(target=write_and_die, args=(of,))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with replacement(path) as living:
        living.write_text("of a process that lives")
        write_whole(path, "whole")
        assert living.exists()
        [left] = scratch_files(tmp_path)  # of the other file, which nobody has written since
        assert left.name.startswith(".other.json-")
    assert path.read_text() == "of a process that lives"
    assert sweep(tmp_path, lambda: Manifest((), {}, {}, {}, None)) == [left]
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_the_process_s_or_those_that_were_asked_for(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    plain = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    for name, further, expected in (("one", {}, plain), ("two", {"mode": 0o600}, 0o600)):
        with replacement(tmp_path / name, **further) as scratch:
            scratch.write_text("x")
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == expected
