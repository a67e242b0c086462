"""The heartbeat: a thread that keeps a new state on disk, then tells the registry what is served."""

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from portrait.registry.errors import PortraitError
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.state.state_file import StateFile

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0


class Reports(Protocol):
    """A receiver of reports about the generation that this process serves."""

    def report(self, generation: int, facts: Mapping[str, Any]) -> None:
        """Report that this process serves the generation, and never an earlier one again; raises Unavailable.

        `facts` are its counters so far.
        """
        ...

    def leave(self) -> None:
        """Report that this process stops serving; raises Unavailable."""
        ...


class Heartbeat:
    """Reports the served generation when it changes and every few seconds; failures are only logged.

    A state is kept on disk before it is reported. So if this process has to start without the registry, it starts from
    a state that is no older than the one which a retirement has waited for.
    """

    def __init__(
        self,
        reports: Reports,
        kept: StateFile | None,
        every_seconds: float = BEAT_SECONDS,
        facts: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._reports = reports
        self._kept = kept
        self._every_seconds = every_seconds
        self._facts = facts
        self._state: ServingState | None = None
        self._saved: ServingState | None = None
        self._failing: set[str] = set()
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def serves(self, state: ServingState) -> None:
        """Note the state that is served from now on."""
        self._state = state
        self._woken.set()

    def start(self) -> None:
        """Start the thread that reports."""
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Report that this process stops, and wait at most `seconds` for the registry."""
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._woken.wait(self._every_seconds)
            self._woken.clear()
            state = self._state
            if state is not None and not self._stopped.is_set():
                self._beat(state)
        if self._state is not None:
            self._attempt("the registry was not told that this process stops", self._reports.leave)

    def _beat(self, state: ServingState) -> None:
        if state is not self._saved and self._attempt("the assignments were not kept on disk", self._keep, state):
            self._saved = state
        failure = "the registry was not told what is served"
        told = self._attempt(failure, self._reports.report, state.generation, self._facts())
        if told and self._kept is not None and self._saved is state:
            self._attempt("the kept assignments were not confirmed", self._kept.confirm)

    def _keep(self, state: ServingState) -> None:
        if self._kept is not None:
            self._kept.save(state)

    def _attempt(self, failure: str, work: Callable[..., None], *arguments: object) -> bool:
        try:
            work(*arguments)
        except Exception as error:
            if failure not in self._failing:  # once an outage, not every few seconds
                log.warning("%s: %s", failure, error, exc_info=not isinstance(error, PortraitError | OSError))
            self._failing.add(failure)
            return False
        self._failing.discard(failure)
        return True
