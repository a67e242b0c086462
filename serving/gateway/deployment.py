"""The gateway as a Ray Serve deployment: one process that reads the store itself, with no further hop."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING

from fastapi import FastAPI
from ray import serve
from ray.serve import Application

from portrait.registry.errors import PortraitError
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.gateway.app import create_app
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.settings import ServingSettings
from portrait.serving.state.routing import served_versions

if TYPE_CHECKING:  # a replica's parts take seconds to import, and the process that starts it does not need them
    from portrait.serving.gateway.build import GatewayParts

WARM_SECONDS = 60.0
"""How long a starting replica waits for its models to load; the registry or a store may be away."""

NAME = "gateway"
Build = Callable[[ServingSettings], "GatewayParts"]


@serve.ingress()
class Gateway:
    """A replica of the gateway: an ASGI app over parts that are built from settings."""

    def __init__(self, settings: ServingSettings, build: Build) -> None:
        self._settings = settings
        self._parts = build(settings)
        self._assignments = self._parts.reader.assignments
        self._pool = PooledReader(
            self._parts.reader,
            settings.store_threads,
            settings.compute_threads,
            settings.compute_queue,
            self._parts.asynchronous,
            settings.store_inline_users,
            self._parts.requests.add if self._parts.requests is not None else None,
        )
        self._begin()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The ASGI app, which Serve mounts once the replica is built."""
        return create_app(
            self._pool,
            self._parts.operations,
            self._parts.arrivals,
            self._settings,
            shared_metrics=self._settings.replicas > 1,
        )

    def __del__(self) -> None:
        self._parts.arrivals.close()
        if self._parts.reconciler is not None:
            self._parts.reconciler.stop()
        self._assignments.stop()
        if self._parts.reader.watch is not None:
            self._parts.reader.watch.stop()
        if self._parts.reader.evicted is not None:
            self._parts.reader.evicted.stop()
        self._pool.close()
        if self._parts.requests is not None:
            self._parts.requests.stop()

    def _begin(self) -> None:
        watch = self._parts.reader.watch
        if watch is not None:
            with suppress(PortraitError):  # the registry or the store is away: seen once they are there
                watch.look()
            watch.start()
        state = self._assignments.begin()
        if state is not None:
            # Before the first request: importing torch and loading a model would hold up all of them.
            wait(self._warm(state), WARM_SECONDS)
        self._assignments.on_change(self._warm)
        self._assignments.start()
        self._parts.arrivals.start()
        if self._parts.reconciler is not None:
            self._parts.reconciler.start()
        if self._parts.requests is not None:
            self._parts.requests.start()
        if self._parts.reader.evicted is not None:
            self._parts.reader.evicted.start()

    def _warm(self, state: ServingState) -> list[Future[None]]:
        return self._pool.warm(served_versions(state))


def application(settings: ServingSettings, build: Build, environment: dict[str, str]) -> Application:
    """The Serve application of these settings; `build` runs in every replica, under `environment`."""
    deployment = serve.deployment(
        Gateway,
        name=NAME,
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_ongoing_requests,
        max_queued_requests=settings.max_queued_requests,
        ray_actor_options={"num_cpus": settings.replica_cpus, "runtime_env": {"env_vars": environment}},
        graceful_shutdown_timeout_s=settings.drain_seconds + 5.0,
        # A log line for each request would cost a third of the reads, even an unwritten one a twentieth; see /metrics.
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    return deployment.bind(settings, build)
