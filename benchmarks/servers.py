"""Servers for benchmarks of reads, each stopped when its block ends."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import ray

from benchmarks import empty
from benchmarks.server import Server, children_of_this_process, process
from portrait.feature_repo.declaration.environment import feast_environment
from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.infra.settings import Settings
from portrait.registry.errors import Unavailable
from portrait.registry.settings import PROJECT_ROOT
from portrait.serving.gateway.serve_environment import free_port, serve_environment
from portrait.serving.running import start

HOST = "127.0.0.1"
FEAST_REQUESTS = 1_000_000_000  # of a worker's life: by default it drops its connections every 1,000


@contextmanager
def serving(settings: Settings) -> Iterator[Server]:
    """The gateway and its refresh shards, on Ray Serve with its flags."""
    settings = settings.model_copy(update={"port": 0, "host": HOST})
    ensure_ray(settings)
    try:
        with start(settings) as running:
            yield Server(running.url, children_of_this_process())  # Ray's, and nothing else yet
    finally:
        ray.shutdown()


@contextmanager
def gateway(settings: Settings) -> Iterator[Server]:
    """The same with an empty twin of the gateway at /empty."""
    with serving(settings) as server:
        empty.deploy(settings, serve_environment(settings))
        _wait(server.url + empty.PATH)
        yield server


@contextmanager
def feast_serve(settings: Settings) -> Iterator[Server]:
    """`feast serve` as a person would start it, one worker and no access log."""
    port = free_port(HOST)
    options = ["--host", HOST, "--port", str(port), "--workers", "1", "--no-access-log"]
    options += ["--max-requests", str(FEAST_REQUESTS), "--max-requests-jitter", "0"]
    command = [str(Path(sys.executable).with_name("feast")), "--chdir", str(settings.feature_repo), "serve", *options]
    with _process(command, feast_environment(settings)) as pid:
        _wait(f"http://{HOST}:{port}/health")
        yield Server(f"http://{HOST}:{port}", (process(pid),))


@contextmanager
def echo() -> Iterator[Server]:
    """A server that answers every request with the same bytes."""
    port = free_port(HOST)
    with _process([sys.executable, "-m", "benchmarks.echo", str(port)], {}) as pid:
        _wait(f"http://{HOST}:{port}/")
        yield Server(f"http://{HOST}:{port}", (process(pid),))


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[int]:
    started = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        yield started.pid
    finally:
        started.terminate()
        try:
            started.wait(15)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def _wait(url: str, within: float = 90.0) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise Unavailable(f"{url} did not answer within {within:.0f} s")
