"""Refresh shards as named Ray actors, and the group that keeps them alive."""

import hashlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

from portrait.serving.gateway.serve_environment import SHARD_NICENESS
from portrait.serving.settings import ServingSettings

if TYPE_CHECKING:  # the process that starts shards need not import Feast and torch
    from portrait.serving.refresh.shard import Shard

log = logging.getLogger(__name__)

NAMESPACE = "portrait"
LOOK_SECONDS = 2.0
ANSWER_SECONDS = 120.0
"""A shard that does not answer for longer hangs; a starting one first imports Feast and torch."""
STOP_SECONDS = 30.0

Build = Callable[[ServingSettings, str], "Shard"]


class ShardActor:
    """One shard in a process of its own; Ray restarts it when the process dies."""

    def __init__(self, settings: ServingSettings, id: str, build: Build) -> None:
        os.nice(SHARD_NICENESS)
        self._shard = build(settings, id)
        self._shard.start()

    def running(self) -> bool:
        """Whether the shard's threads are alive."""
        return self._shard.running

    def stop(self) -> None:
        """Stop the shard, which gives its buckets back."""
        self._shard.stop()


class ShardGroup:
    """The shards of one instance on a Ray cluster: it finds or starts them, and replaces those that fail."""

    def __init__(self, settings: ServingSettings, build: Build, environment: dict[str, str]) -> None:
        self._settings = settings
        self._build = build
        self._environment = environment
        self._owner = uuid.uuid4().hex[:12]
        instance = hashlib.sha256(settings.database_url.encode()).hexdigest()[:8]
        self.names = [f"portrait-{instance}-shard-{number}" for number in range(settings.refresh_shards)]
        self._actors: dict[str, Any] = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="shards", daemon=True)

    def start(self) -> None:
        """Start the shards, and watch them from now on."""
        for name in self.names:
            self._actors[name] = self._started(name)
        if self.names:
            self._watcher.start()

    def stop(self) -> None:
        """Stop the shards; their buckets are free at once."""
        self._stopped.set()
        if self.names:
            self._watcher.join(2 * LOOK_SECONDS)
        stopping = [actor.stop.remote() for actor in self._actors.values()]
        try:
            ray.wait(stopping, num_returns=len(stopping), timeout=STOP_SECONDS) if stopping else None
        finally:
            for actor in self._actors.values():
                ray.kill(actor)

    def _started(self, name: str) -> Any:
        remote = ray.remote(ShardActor).options(
            name=name,
            namespace=NAMESPACE,
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=self._settings.shard_cpus,
            runtime_env={"env_vars": self._environment},
        )
        return remote.remote(self._settings, f"{self._owner}-{name}", self._build)

    def _answer(self, actor: Any) -> bool:
        """Whether a shard is running; waits in short steps, so that `stop` does not have to wait."""
        running = actor.running.remote()
        until = time.monotonic() + ANSWER_SECONDS
        while not self._stopped.is_set() and time.monotonic() < until:
            try:
                return bool(ray.get(running, timeout=LOOK_SECONDS))
            except GetTimeoutError:
                continue
        return self._stopped.is_set()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for name, actor in list(self._actors.items()):
                try:
                    if not self._answer(actor):
                        ray.kill(actor, no_restart=False)
                except ActorUnavailableError:
                    log.warning("shard %s is being started anew", name)
                except ActorDiedError:  # Ray does not restart it: somebody has killed it by its handle
                    log.warning("shard %s is gone, another takes its place", name)
                    self._actors[name] = self._started(name)
                except Exception:
                    log.exception("looking after shard %s failed; trying again", name)
