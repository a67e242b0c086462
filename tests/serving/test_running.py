"""The gateway on a real Ray Serve cluster, from a plain script."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from portrait.registry.errors import Conflict
from portrait.registry.serving_state.serving_state import read_state
from portrait.serving import running as app
from portrait.serving.client import Client, NotFound
from portrait.serving.gateway import serve_environment as flags
from portrait.serving.settings import ServingSettings
from portrait.serving.state.first_state import state_file_of
from portrait.serving.state.routing import in_canary
from tests.processes_of_a_machine import alive, descendants, listening
from tests.serving.instance import Instance

SCRIPT = """
import sys
from pathlib import Path
from portrait.serving.running import run_forever
from portrait.serving.settings import ServingSettings
from tests.serving.instance import build

if __name__ == "__main__":
    settings = ServingSettings(home=Path(sys.argv[1]), port=0, haproxy=sys.argv[3] == "haproxy")
    run_forever(settings, build, lambda running: Path(sys.argv[2]).write_text(running.url))
"""
ROOT = Path(__file__).parents[2]


def test_a_port_that_is_taken_is_told_before_ray_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"127.0.0.1:{port}.*--port"):
            app.start(ServingSettings(home=tmp_path, port=port))


def test_flags_are_ours_unless_the_person_set_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServingSettings(home=tmp_path, haproxy_stats_port=8123)
    chosen = flags.serve_environment(settings)
    assert (chosen["RAY_SERVE_ENABLE_HA_PROXY"], chosen["RAY_SERVE_THROUGHPUT_OPTIMIZED"]) == ("1", "1")
    assert (chosen["RAY_SERVE_HAPROXY_STATS_PORT"], chosen["RAY_SERVE_HAPROXY_METRICS_PORT"]) == ("8123", "0")
    monkeypatch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", "9")
    assert flags.serve_environment(settings)["RAY_SERVE_HAPROXY_STATS_PORT"] == "9"


def test_gateways_of_two_ports_share_no_file(tmp_path: Path) -> None:
    one, two = (flags.serve_environment(ServingSettings(home=tmp_path, port=port)) for port in (8000, 8001))
    same = {"RAY_SERVE_HAPROXY_BINARY_PATH", "PORTRAIT_HAPROXY_BINARY", "PORTRAIT_HAPROXY_PYTHON"}  # programs
    places = [
        {value for name, value in chosen.items() if value.startswith("/") and name not in same} for chosen in (one, two)
    ]
    assert all(places) and not places[0] & places[1]


def test_a_haproxy_that_a_person_chose_is_started_by_our_launcher_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_SERVE_HAPROXY_BINARY_PATH", "/opt/haproxy")
    chosen = flags.serve_environment(ServingSettings(home=tmp_path))
    assert chosen["PORTRAIT_HAPROXY_BINARY"] == "/opt/haproxy"
    assert chosen["RAY_SERVE_HAPROXY_BINARY_PATH"] == str(flags.LAUNCHER)


def test_without_a_haproxy_binary_serve_uses_its_own_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "haproxy_available", lambda: False)
    assert flags.serve_environment(ServingSettings(home=tmp_path)) == {}


@contextmanager
def served(instance: Instance, tmp_path: Path, front: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    script, address, said = tmp_path / "serve.py", tmp_path / "address", tmp_path / "said"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(instance.settings.home), str(address), front]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with said.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as run:
        try:
            end = time.monotonic() + 120
            while not (address.exists() and address.read_text()):
                assert run.poll() is None and time.monotonic() < end, said.read_text()
                time.sleep(0.1)
            yield address.read_text(), run
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)
                run.wait(60)


def call_without_token(port: int) -> str:
    """The code of the answer to a call between replicas from whoever has no token; its arguments would be unpickled."""
    import grpc
    from ray.serve.generated import serve_pb2, serve_pb2_grpc

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as refused:
        serve_pb2_grpc.ASGIServiceStub(channel).HandleRequest(serve_pb2.ASGIRequest())
    return str(refused.value.code().name)


@pytest.mark.slow
@pytest.mark.parametrize("front", ["haproxy", "own proxy"])
def test_start_read_promote_stop(instance: Instance, tmp_path: Path, front: str) -> None:
    current = instance.registry.consumers.assignment("ranker")
    assert current
    other = next(version for version in instance.vectors if version != current.stable)
    with served(instance, tmp_path, front) as (url, run):
        with Client(url, "ranker") as client, Client(url, "search") as search:
            assert client.embedding("user-3").vector.tobytes() == instance.vectors[current.stable][3].tobytes()
            users = [f"user-{number}" for number in range(120)]
            assert (client.embeddings(users).matrix == instance.vectors[current.stable]).all()
            assert [client.embedding(user).source for user in ("late", "nobody")] == ["computed", "prior"]
            # Through the proxy too, an id is an id.
            assert [client.embedding(user).user_id for user in ("a/b%2F ü", "..", "a\n")] == ["a/b%2F ü", "..", "a\n"]
            with pytest.raises(NotFound):
                client.embedding("nobody", strict=True)

            instance.promote("ranker", other)
            promoted = time.monotonic()
            while (answer := client.embedding("user-3")).version != other:
                assert time.monotonic() - promoted < 60, "a promotion never became visible"
            assert np.array_equal(answer.vector, instance.vectors[other][3])
            assert search.embedding("user-3").version == "autoencoder-1"

            instance.registry.promotions.promote("search", "autoencoder-2", canary_share=0.5)
            inside = [in_canary("search", "autoencoder-2", user, 0.5) for user in users]
            while len((rows := search.embeddings(users)).versions) < 2:
                assert time.monotonic() - promoted < 60
            assert [row.lane == "canary" for row in rows] == inside
            for number, row in enumerate(rows):
                assert row.version == f"autoencoder-{1 + inside[number]}"
                assert row.vector.tobytes() == instance.vectors[row.version][number].tobytes()
            instance.registry.promotions.abort_canary("search")
        assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
        assert 'source="stored"' in httpx.get(f"{url}/metrics").text
        assert httpx.get(f"{url}/v1/consumers/x/embeddings/y").headers["content-type"] == "application/problem+json"

        family = descendants(run.pid)
        open_to_the_network = {port for host, port in listening(family) if not host.startswith("127.")}
        assert len(open_to_the_network) <= 1, (
            "only the replica's port for other replicas, which Ray cannot bind elsewhere"
        )
        assert {call_without_token(port) for port in open_to_the_network} <= {"UNAUTHENTICATED"}
        assert any("haproxy" in name for name in alive(family)) == (front == "haproxy")
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 0
    end = time.monotonic() + 5
    while alive(family) and time.monotonic() < end:
        time.sleep(0.1)
    assert not alive(family)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/healthz")


@pytest.mark.slow
def test_it_starts_from_disk_while_the_registry_is_away_and_catches_up(instance: Instance, tmp_path: Path) -> None:
    registry, settings = instance.registry, instance.settings
    file = settings.home / "registry.db"
    registry.promotions.promote("search", "autoencoder-2", canary_share=0.5)
    state_file_of(settings, registry.database).save(read_state(registry.database))
    away = file.rename(tmp_path / "moved.db")
    try:
        with served(instance, tmp_path, "own proxy") as (url, _run), Client(url, "search") as search:
            ready = httpx.get(f"{url}/readyz").json()
            assert (ready["status"], ready["registry"], ready["source"]) == ("degraded", "away", "disk")
            users = [f"user-{number}" for number in range(20)]
            inside = [in_canary("search", "autoencoder-2", user, 0.5) for user in users]
            assert [row.lane == "canary" for row in search.embeddings(users)] == inside
            away.rename(file)
            registry.promotions.abort_canary("search")
            back = time.monotonic()
            while search.embeddings(users).versions != ["autoencoder-1"]:
                assert time.monotonic() - back < 60
            assert httpx.get(f"{url}/readyz").json()["status"] == "ready"
    finally:
        if away.exists():
            away.rename(file)
