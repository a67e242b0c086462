"""The servers that reads are measured on, each stopped when its block ends."""

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
from feature_repo.environment import feast_environment
from infra.settings import Settings
from registry.errors import Unavailable
from registry.settings import PROJECT_ROOT
from serving.app import start
from serving.flags import free_port, serve_environment

HOST = "127.0.0.1"
FEAST_REQUESTS = 1_000_000_000  # of a worker's life: by default it drops its connections every 1,000


@contextmanager
def gateway(settings: Settings) -> Iterator[str]:
    """The gateway with an empty twin at /empty, on Ray Serve with its flags; yields the URL."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = settings.model_copy(update={"port": 0, "host": HOST})
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=128 << 20)
    try:
        with start(settings) as running:
            empty.deploy(settings, serve_environment(settings))
            _wait(running.url + empty.PATH)
            yield running.url
    finally:
        ray.shutdown()


@contextmanager
def feast_serve(settings: Settings) -> Iterator[str]:
    """`feast serve` as a person would start it, one worker and no access log; yields the URL."""
    port = free_port(HOST)
    options = ["--host", HOST, "--port", str(port), "--workers", "1", "--no-access-log"]
    options += ["--max-requests", str(FEAST_REQUESTS), "--max-requests-jitter", "0"]
    command = [str(Path(sys.executable).with_name("feast")), "--chdir", str(settings.feature_repo), "serve", *options]
    with _process(command, feast_environment(settings)):
        _wait(f"http://{HOST}:{port}/health")
        yield f"http://{HOST}:{port}"


@contextmanager
def echo() -> Iterator[str]:
    """A server that does nothing; yields the URL."""
    port = free_port(HOST)
    with _process([sys.executable, "-m", "benchmarks.echo", str(port)], {}):
        _wait(f"http://{HOST}:{port}/")
        yield f"http://{HOST}:{port}/"


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, within: float = 90.0) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise Unavailable(f"{url} did not answer within {within:.0f} s")
