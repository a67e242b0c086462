"""A Redis server for one test, with an append-only file, that can be killed and started again."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

import redis

from tests.conftest import unavailable


class RedisProcess:
    """`redis-server` on a free port, with its files in `folder`."""

    def __init__(self, folder: Path, fsync: str = "everysec") -> None:
        self._binary = shutil.which("redis-server")
        if self._binary is None:
            unavailable("redis-server")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]
        self._folder, self._fsync = folder, fsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Return when the server answers, with what its file holds."""
        options = {"port": self._port, "dir": self._folder, "save": "", "appendonly": "yes"}
        options["appendfsync"] = self._fsync
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [str(self._binary), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 20
        with redis.Redis.from_url(self.url, retry=None) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:  # not listening yet, or loading
                    assert time.monotonic() < until and self._process.poll() is None
                    time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
