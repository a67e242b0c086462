"""The assignments in memory: a thread polls the registry and replaces one immutable state."""

import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from portrait.registry.errors import Conflict, NotFound, PortraitError, Unavailable
from portrait.registry.records.records import Consumer
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import ServingState, read_generation, read_state
from portrait.serving.state.heartbeat import BEAT_SECONDS, Heartbeat, Reports
from portrait.serving.state.routing import Route, routes
from portrait.serving.state.state_file import StateFile

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds without an answer after which the registry counts as away."""

Origin: TypeAlias = Literal["registry", "disk"]


class StateSource(Reports, Protocol):
    """A source of the state; `generation` is one cheap query, and changes whenever `read` would."""

    def generation(self) -> int:
        """The registry's present generation; raises Unavailable."""
        ...

    def read(self) -> ServingState:
        """The whole state at one moment; raises Unavailable."""
        ...


class RegistrySource:
    """The state in the registry's database, where this process has a row as a replica."""

    def __init__(self, registry: Registry) -> None:
        self._database = registry.database
        self._replicas = registry.replicas
        self._id, self._host = uuid.uuid4().hex, socket.gethostname()

    def generation(self) -> int:
        return read_generation(self._database)

    def read(self) -> ServingState:
        return read_state(self._database)

    def report(self, generation: int, facts: Mapping[str, Any]) -> None:
        self._replicas.seen(self._id, self._host, generation, facts=facts)

    def leave(self) -> None:
        self._replicas.gone(self._id)


def known_consumer(state: ServingState, name: str) -> Consumer:
    """The consumer of this name; raises NotFound, which lists the known names."""
    consumer = state.consumers.get(name)
    if consumer is None:
        known = ", ".join(sorted(state.consumers)[:20]) or "none yet, `portrait consumer add` makes one"
        raise NotFound(f"there is no consumer {name[:80]!r}; known: {known}")
    return consumer


class Assignments:
    """The newest state known, for readers that never wait.

    While the registry is away the poller goes on: readers keep the last state, and `stale_seconds` tells for how long.
    With a `kept` file a process may even start without the registry.
    """

    def __init__(
        self,
        source: StateSource,
        poll_seconds: float = 0.2,
        kept: StateFile | None = None,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._kept = kept
        self.facts: Callable[[], Mapping[str, Any]] = dict  # counters that every heartbeat reports
        self._heartbeat = Heartbeat(source, kept, beat_seconds, lambda: self.facts())
        self._state: ServingState | None = None
        self._routes: dict[str, Route] = {}
        self._origin: Origin = "registry"
        self._answered = False
        self._confirmed = time.monotonic()  # when the registry last confirmed the state; at first, the process's start
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[ServingState], object]] = []

    @property
    def state(self) -> ServingState:
        """The newest state; raises Unavailable until there is one."""
        if self._state is None:
            raise Unavailable("the registry has not answered since this process started")
        return self._state

    @property
    def known(self) -> ServingState | None:
        """The newest state, or None until there is one."""
        return self._state

    def route(self, consumer: str) -> Route:
        """The route of a consumer, from memory.

        Raises NotFound for an unknown consumer, Conflict for one that reads nothing, Unavailable without a state.
        """
        route = self._routes.get(consumer)
        if route is None:
            name = known_consumer(self.state, consumer).name
            raise Conflict(f"consumer {name} has no embedding version: run `portrait promote {name} VERSION`")
        return route

    @property
    def origin(self) -> Origin:
        """The origin of the state: disk as long as the registry has not answered since the process started."""
        return self._origin

    @property
    def stale_seconds(self) -> float:
        """Seconds since the registry last confirmed the state; without a state, since the process started."""
        return time.monotonic() - self._confirmed

    @property
    def registry_answers(self) -> bool:
        """Whether the registry answered the newest query; after a long silence it counts as away."""
        return self._answered and self.stale_seconds < self._poll_seconds + PATIENCE

    def on_change(self, listener: Callable[[ServingState], object]) -> None:
        """Call `listener` from the polling thread with every new state."""
        self._listeners.append(listener)

    def begin(self) -> ServingState | None:
        """Load the first state: the registry's or, when that does not answer, the copy on disk; None without either."""
        try:
            return self.refresh()
        except PortraitError as error:
            kept = self._kept.load() if self._kept else None
            if kept is None:
                log.warning("the registry does not answer, and no assignments are kept on disk: %s", error)
                return None
            log.warning("serving starts with the assignments of %.0f s ago: %s", kept.age_seconds, error)
            self._serve(kept.state, "disk")
            self._confirmed = time.monotonic() - kept.age_seconds
            return kept.state

    def refresh(self) -> ServingState:
        """The state after asking the registry now; raises Unavailable when it does not answer."""
        try:
            generation = self._source.generation()
            state = self._state
            # A state from disk is read again: a registry restored from a backup may have reached the same number.
            if state is None or self._origin == "disk" or generation != state.generation:
                state = self._source.read()
        except PortraitError:
            self._answered = False
            raise
        self._answered, self._confirmed = True, time.monotonic()
        if state is not self._state:
            self._serve(state, "registry")
            self._heartbeat.serves(state)
        return state

    def start(self) -> None:
        """Start polling; the first answer may still be under way."""
        self._thread = threading.Thread(target=self._poll, name="assignments", daemon=True)
        self._thread.start()
        self._heartbeat.start()

    def stop(self) -> None:
        """Stop polling, and delete this process's row in the registry unless that is away."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * PATIENCE)
        self._heartbeat.stop(2 * PATIENCE)

    def _serve(self, state: ServingState, origin: Origin) -> None:
        routed = routes(state)
        self._state, self._routes, self._origin = state, routed, origin
        for listener in self._listeners:
            listener(state)

    def _poll(self) -> None:
        answered = True
        while not self._stopped.is_set():
            try:
                self.refresh()
                answered = True
            except PortraitError as error:
                if answered:  # once an outage, not five times a second
                    log.warning("serving goes on with the last known assignments: %s", error)
                answered = False
            except Exception:
                # A poller that dies would freeze the assignments for good without anybody noticing.
                log.exception("polling the registry failed; trying again")
            self._stopped.wait(self._poll_seconds)
