"""The servers of a round, started and killed: Redis on its append-only file, `portrait serve` with all of its Ray."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import psutil
import redis

from portrait.registry.errors import Unavailable
from portrait.registry.settings import PROJECT_ROOT

GATEWAY, SHARD = "ray::ServeReplica:portrait", "ray::ShardActor"


class RedisServer:
    """A Redis of one's own that keeps an append-only file in `folder`."""

    def __init__(self, folder: Path, port: int, fsync: str = "everysec") -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._folder, self._backup = folder, folder.with_name(f"{folder.name}-backup")
        durability = ["--appendonly", "yes", "--appendfsync", fsync, "--save", ""]
        self._command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), *durability]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, within: float = 30.0) -> None:
        """Start it, and return when it has read its file and answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, start_new_session=True)
        until = time.monotonic() + within
        with redis.Redis.from_url(self.url) as client:
            while not self._answers(client):
                if time.monotonic() > until or self._process.poll() is not None:
                    raise Unavailable(f"a redis-server at {self.url} did not start")
                time.sleep(0.01)

    def kill(self) -> None:
        """Kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def empty(self) -> None:
        """Have it forget everything at once."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def back_up(self) -> None:
        """Keep its files of now."""
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self._folder, self._backup)

    def restore(self) -> None:
        """Put the kept files back, as from a backup, and start it on them."""
        self.kill()
        shutil.rmtree(self._folder)
        shutil.copytree(self._backup, self._folder)
        self.start()

    def stop(self) -> None:
        """Let it write everything, and end it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except redis.RedisError:  # not there yet, or reading its file
            return False


class Serving:
    """`portrait serve` in a session of its own, by which everything that Ray starts for it is found."""

    def __init__(self, environment: Mapping[str, str], output: Path) -> None:
        self._environment = {**os.environ, **environment}
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[int] = []

    @classmethod
    @contextmanager
    def running(cls, environment: Mapping[str, str], output: Path) -> Iterator[Self]:
        """One that may be started in the block; nothing of it is left afterwards."""
        serving = cls(environment, output)
        try:
            yield serving
        finally:
            serving.kill_all()

    def start(self) -> None:
        """Start it; returns at once."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "portrait.infra.cli.main", "serve"],
                env=self._environment,
                cwd=PROJECT_ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._sessions.append(self._process.pid)

    def processes(self, title: str = "") -> list[psutil.Process]:
        """The living processes whose command line begins so; replicas and shards have titles of Ray's."""
        return [one for one in psutil.process_iter() if self._is_ours(one) and _title(one).startswith(title)]

    def titles(self) -> list[str]:
        """Command lines of all living processes."""
        return [_title(one) for one in self.processes()]

    @property
    def ended(self) -> bool:
        """Whether `portrait serve` itself has ended."""
        return self._process is None or self._process.poll() is not None

    def kill(self, title: str = "") -> int:
        """Kill -9 of those; returns how many there were."""
        victims = self.processes(title)
        for victim in victims:
            _kill(victim)
        return len(victims)

    def freeze(self, title: str) -> psutil.Process | None:
        """Stop one of those where it stands, until it is resumed; None when there is none."""
        for one in self.processes(title)[:1]:
            one.suspend()
            return one
        return None

    def kill_all(self) -> int:
        """Kill -9 of everything, until nothing is left; returns how many there were."""
        killed = 0
        while some := self.kill():
            killed += some
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()
            self._process = None
        return killed

    def stop(self, within: float = 60.0) -> None:
        """End it as Ctrl-C would; raises Unavailable, with everything killed, when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise Unavailable(f"`portrait serve` did not stop within {within:.0f} s: see {self._output}") from None
        self._process = None

    def _is_ours(self, one: psutil.Process) -> bool:
        try:
            return os.getsid(one.pid) in self._sessions and one.status() != psutil.STATUS_ZOMBIE
        except (ProcessLookupError, psutil.Error):
            return False


def _title(one: psutil.Process) -> str:
    try:
        return " ".join(one.cmdline())
    except psutil.Error:
        return ""


def _kill(one: psutil.Process) -> None:
    try:
        one.kill()
    except psutil.Error:  # it has ended meanwhile
        return
