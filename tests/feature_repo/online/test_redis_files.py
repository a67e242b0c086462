"""Purging of a Redis server with both kinds of files: no deleted bytes are left in them."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from portrait.feature_repo.online import redis_files
from portrait.feature_repo.online.redis_files import purge
from tests.conftest import unavailable

ID = "u-forgotten-1"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[redis.Redis]:
    """Append-only file and dump in `tmp_path`."""
    program = shutil.which("redis-server")
    if program is None:
        unavailable("redis-server")
    socket = tmp_path / "socket"
    options = ["--port", "0", "--unixsocket", socket, "--dir", tmp_path, "--appendonly", "yes", "--save", "3600 1"]
    process = subprocess.Popen([str(program), *map(str, options)], stdout=subprocess.DEVNULL)
    client = redis.Redis(unix_socket_path=str(socket))
    until = time.monotonic() + 30
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < until
            time.sleep(0.02)
    yield client
    client.close()
    process.kill()  # it would try to write its dump first
    process.wait(30)


def holding(folder: Path) -> list[str]:
    """Files that hold the id, once the server has removed those that it has replaced."""
    until = time.monotonic() + 30
    while True:
        found = [path.name for path in folder.rglob("*") if path.is_file() and ID.encode() in path.read_bytes()]
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.05)


def test_no_file_holds_what_was_deleted(server: redis.Redis, tmp_path: Path) -> None:
    server.hset(ID, mapping={"vector": "1"})
    server.hset("somebody else", mapping={"vector": "2"})
    server.save()
    server.delete(ID)
    held = {path.name for path in tmp_path.rglob("*") if path.is_file() and ID.encode() in path.read_bytes()}
    assert "dump.rdb" in held and any("aof" in name for name in held)
    assert purge(server) == []
    assert holding(tmp_path) == []
    assert server.hgetall("somebody else") == {b"vector": b"2"}
    assert (tmp_path / "dump.rdb").exists()


def test_a_server_that_cannot_write_is_said(
    server: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_files, "REWRITE_SECONDS", 5.0)
    (tmp_path / "dump.rdb").mkdir()  # whoever runs the tests may write anywhere, but not over a folder
    assert purge(server) == ["Redis could not rewrite its dump: its log says why, and what was deleted is still in it"]
