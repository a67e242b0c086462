"""Starting and stopping the gateway on Ray Serve, from a plain script:

running = start(ServingSettings())
...
running.stop()
"""

import os
import signal
import threading
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from serving import flags
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from serving.deployment import Build
    from serving.parts import Parts

APPLICATION = "portrait"


@dataclass(frozen=True)
class Running:
    """A gateway that answers at `url`."""

    url: str
    owns_ray: bool  # whether stopping it stops Ray too

    def stop(self) -> None:
        """Stop the gateway and what was started for it; nothing of it is left when this returns."""
        import ray
        from ray import serve

        serve.shutdown()
        if self.owns_ray:
            ray.shutdown()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(settings: ServingSettings, build: "Build | None" = None) -> Running:
    """Start the gateway and return when it answers; raises Conflict when the port is taken.

    `build` makes the parts of each replica; the real ones unless a test or a benchmark gives others.

    Uses the Ray of this process when there is one, the cluster at `ray_address` when that is set, and
    starts Ray otherwise.
    """
    port = settings.port or flags.free_port(settings.host)
    flags.require_free(settings.host, port)
    # Only now: importing Ray Serve takes a second, and a wrong port should be told at once.
    import ray
    from ray import serve

    from serving.deployment import application

    environment = flags.serve_environment(settings)

    owns_ray = not ray.is_initialized()
    if owns_ray:
        _start_ray(settings)
    try:
        serve.start(
            http_options={"host": settings.host, "port": port},
            controller_options={"runtime_env": {"env_vars": environment}},
        )
        serve.run(application(settings, build or _real_parts, environment), name=APPLICATION, route_prefix="/")
    except BaseException:
        Running("", owns_ray).stop()
        raise
    return Running(f"http://{settings.host}:{port}", owns_ray)


def run_forever(settings: ServingSettings) -> None:
    """Serve until SIGINT or SIGTERM, then stop cleanly."""
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()

    with start(settings):
        # After Ray has started, which installs a handler of its own that would leave HAProxy behind.
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        asked.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _real_parts(settings: ServingSettings) -> "Parts":
    from serving.wiring import build_parts  # in the replica: Feast takes seconds to import

    return build_parts(settings)


def _start_ray(settings: ServingSettings) -> None:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if settings.ray_address:
        ray.init(address=settings.ray_address, log_to_driver=False)
        return
    # CPUs are Ray's book-keeping only: room for the replicas whatever the machine has.
    ray.init(
        num_cpus=settings.replicas + 1,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 << 20,
    )
