"""Starting and stopping the gateway on Ray Serve from a plain script.

`running = start(ServingSettings())` returns when `running.url` answers; `running.stop()` ends it. `run_forever`
starts the gateway and stops it on a signal.
"""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.registry.private_folder import end_servers, private_folder, sweep
from portrait.serving.gateway import serve_environment as flags
from portrait.serving.settings import ServingSettings

if TYPE_CHECKING:
    from portrait.serving.gateway.build import GatewayParts
    from portrait.serving.gateway.deployment import Build
    from portrait.serving.refresh.actors import Build as BuildShard
    from portrait.serving.refresh.actors import ShardGroup
    from portrait.serving.refresh.shard import Shard

APPLICATION = "portrait"


@dataclass(frozen=True)
class RunningGateway:
    """A running gateway, which answers at `url`."""

    url: str
    owns_ray: bool  # whether stopping it stops Ray too
    shards: "ShardGroup | None" = None

    def stop(self) -> None:
        """Stop the gateway and whatever was started for it; other applications of a shared Serve stay."""
        import ray
        from ray import serve

        with ExitStack() as steps:  # each is taken whatever becomes of those before it; the last comes first here
            if self.owns_ray:
                # Serve's controller may not get to end HAProxy in its time, which would then keep the port.
                steps.callback(end_servers, private_folder())
                steps.callback(ray.shutdown)
                steps.callback(serve.shutdown)
            else:
                steps.callback(_leave_serve)
            if self.shards is not None:
                steps.callback(self.shards.stop)

    def __enter__(self) -> "RunningGateway":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    settings: ServingSettings, build: "Build | None" = None, build_shard: "BuildShard | None" = None
) -> RunningGateway:
    """Start the gateway and its refresh shards, and return when it answers; raises Conflict when the port is taken.

    Uses the Ray of this process when there is one, the cluster at `ray_address` when that is set, and a Ray of its own
    otherwise. `build` makes the parts of each replica and `build_shard` those of a shard; tests and benchmarks give
    their own, the default are the real ones.
    """
    sweep()  # what a killed gateway of ours left behind may hold the port
    settings = settings.model_copy(update={"port": settings.port or flags.free_port(settings.host)})
    if not settings.ray_address:
        flags.require_free(settings.host, settings.port)
    environment = flags.serve_environment(settings)
    # Ray is imported only now: it takes seconds, and a taken port should be reported at once.
    owns_ray = ensure_ray(settings)
    from ray import serve

    from portrait.serving.gateway.deployment import application
    from portrait.serving.refresh.actors import ShardGroup

    shards = ShardGroup(settings, build_shard or _real_shard, flags.shard_environment())
    running = RunningGateway(f"http://{settings.host}:{settings.port}", owns_ray, shards)
    try:
        shards.start()  # they come up beside the gateway
        serve.start(
            http_options={"host": settings.host, "port": settings.port},
            controller_options={"runtime_env": {"env_vars": environment}},
        )
        serve.run(application(settings, build or _real_parts, environment), name=APPLICATION, route_prefix="/")
    except BaseException:
        running.stop()
        raise
    return running


def run_forever(
    settings: ServingSettings,
    build: "Build | None" = None,
    announce: Callable[[RunningGateway], object] = lambda running: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then stop cleanly; `announce` is called once the gateway answers."""
    asked = threading.Event()

    def ask(_signal: int, _frame: FrameType | None) -> None:
        asked.set()

    with start(settings, build) as running:
        # Set after Ray has started: Ray's own handler would end this process and leave HAProxy behind.
        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        announce(running)
        asked.wait()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _leave_serve() -> None:
    from ray import serve

    serve.delete(APPLICATION)
    if not serve.status().applications:
        serve.shutdown()


def _real_shard(settings: ServingSettings, id: str) -> "Shard":
    from portrait.serving.refresh.build import build_shard  # in the shard: Feast and torch take seconds to import

    return build_shard(settings, id)


def _real_parts(settings: ServingSettings) -> "GatewayParts":
    from portrait.serving.gateway.build import build_parts  # in the replica: Feast takes seconds to import

    return build_parts(settings)
