"""What every consumer reads now, kept in memory: a thread polls the registry and replaces one immutable state."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from registry.assignments import ServingState, read_generation, read_state
from registry.database import Database
from registry.errors import Conflict, NotFound, PortraitError, Unavailable
from registry.records import Consumer, EmbeddingVersion

log = logging.getLogger(__name__)


class StateSource(Protocol):
    """Where the state comes from; `generation` is one cheap query and changes whenever `read` would."""

    def generation(self) -> int:
        """The registry's generation; raises Unavailable."""
        ...

    def read(self) -> ServingState:
        """The whole state, of one moment; raises Unavailable."""
        ...


class RegistrySource:
    """The state in the registry's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def generation(self) -> int:
        """One query."""
        return read_generation(self._database)

    def read(self) -> ServingState:
        """One transaction."""
        return read_state(self._database)


def known_consumer(state: ServingState, name: str) -> Consumer:
    """The consumer; raises NotFound with the known names."""
    consumer = state.consumers.get(name)
    if consumer is None:
        known = ", ".join(sorted(state.consumers)[:20]) or "none yet, `portrait consumer add` makes one"
        raise NotFound(f"there is no consumer {name[:80]!r}; known: {known}")
    return consumer


def stable_version(state: ServingState, consumer: str) -> EmbeddingVersion:
    """The version that a consumer reads; raises NotFound or, when it has none assigned, Conflict."""
    assignment = state.assignments.get(consumer)
    if assignment is None:
        name = known_consumer(state, consumer).name
        raise Conflict(f"consumer {name} has no embedding version: run `portrait promote {name} VERSION`")
    return state.versions[assignment.stable]


class Assignments:
    """The newest state known, for readers that never wait.

    The poller outlives a registry that is away: readers keep the last state, and `stale_seconds`
    tells for how long.
    """

    def __init__(self, source: StateSource, poll_seconds: float = 0.2) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._state: ServingState | None = None
        self._confirmed = float("-inf")  # monotonic time of the newest answer of the registry
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._listeners: list[Callable[[ServingState], object]] = []

    @property
    def state(self) -> ServingState:
        """The newest state; raises Unavailable until the registry has answered once."""
        if self._state is None:
            raise Unavailable("the registry has not answered since this process started")
        return self._state

    @property
    def known(self) -> ServingState | None:
        """The newest state, or None until the registry has answered once."""
        return self._state

    @property
    def stale_seconds(self) -> float:
        """Seconds since the registry last confirmed the state."""
        return time.monotonic() - self._confirmed

    def on_change(self, listener: Callable[[ServingState], object]) -> None:
        """Call `listener` from the polling thread with every new state."""
        self._listeners.append(listener)

    def refresh(self) -> ServingState:
        """Ask the registry now; raises Unavailable when it does not answer."""
        generation = self._source.generation()
        if self._state is None or generation != self._state.generation:
            self._state = self._source.read()
            for listener in self._listeners:
                listener(self._state)
        self._confirmed = time.monotonic()
        return self._state

    def start(self) -> None:
        """Start polling; the first answer may still be under way."""
        self._thread = threading.Thread(target=self._poll, name="assignments", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop polling and wait for the thread."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

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
