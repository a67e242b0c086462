"""A refresh shard: one thread works on micro-batches, another renews the leases."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import LeaseLost, PortraitError, Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import ServingState, read_generation, read_state
from portrait.serving.refresh.chores import Chores
from portrait.serving.refresh.intake import Intake
from portrait.serving.refresh.refresher import Refresher
from portrait.serving.state.routing import served_versions

log = logging.getLogger(__name__)

FILL_SECONDS = 0.01
"""How long a micro-batch fills: a step costs several milliseconds however few its rows are."""

IDLE_SECONDS, CALM_AFTER = 0.05, 1.0
"""The pause between two checks once nothing has come for a second: a check is a query, which takes processor time."""

RENEW_SECONDS = 1.0
BEAT_SECONDS = 1.0
AWAY_SECONDS = 0.5
SEAL_EVERY = 10.0
REQUESTS_EVERY = 1.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Effort:
    """The versions that are refreshed with every micro-batch, and those that are refreshed in batches."""

    eager: list[EmbeddingVersion]
    lazy: list[EmbeddingVersion]

    @classmethod
    def from_state(cls, state: ServingState) -> "Effort":
        """Eager versions are those that a consumer reads and those being backfilled; other ready ones are lazy."""
        served = {version.id for version in served_versions(state)}
        live = [v for v in state.versions.values() if v.state in (VersionState.READY, VersionState.BACKFILLING)]
        eager = [v for v in live if v.id in served or v.state == VersionState.BACKFILLING]
        return cls(eager, [v for v in live if v not in eager])


class Shard:
    """Runs until it is stopped; it waits for a registry or store that is away, and notes only work that is done."""

    def __init__(
        self,
        id: str,
        registry: Registry,
        refresher: Refresher,
        chores: Chores,
        intake: Intake | None,
        poll_seconds: float,
        lazy_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.id = id
        self._clock = clock
        self._registry = registry
        self.refresher = refresher
        self.held = refresher.held
        self._chores = chores
        self._intake = intake
        self._poll_seconds = poll_seconds
        self._lazy_seconds = lazy_seconds
        self._host = socket.gethostname()
        self._state: ServingState | None = None
        self._trailing: set[str] = set()  # versions that a batch still has to bring up to date, beside the lazy ones
        self._next: dict[str, float] = {}
        self._away = False
        self._busy_at = clock()
        self._stopped = threading.Event()
        self._attested = threading.Event()  # the online store was compared: only then is any bucket taken
        self._threads = [
            threading.Thread(target=self._work, name="refresh", daemon=True),
            threading.Thread(target=self._renew, name="leases", daemon=True),
        ]

    def start(self) -> None:
        """Start both threads; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop after the running micro-batch, give the buckets back, and close the connections to the registry."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)
        try:
            self.held.give_back()
            self._registry.replicas.gone(self.id)
        except PortraitError as error:
            log.warning("the registry was not told that this shard stops: %s", error)
        self.close()

    def close(self) -> None:
        """Give back the connections to registry and Feast; only of a shard that does not run."""
        self.refresher.repo.close()
        self._registry.close()

    @property
    def running(self) -> bool:
        """Whether both threads are alive."""
        return all(thread.is_alive() for thread in self._threads)

    def once(self) -> bool:
        """Do one round of all work that is due; whether there was anything to do."""
        state = self._follow()
        effort = Effort.from_state(state)
        if self._is_due("attest", BEAT_SECONDS):
            if self.refresher.repo.identity.attest():
                self.held.rewind()
            self._attested.set()
        busy = self._intake() if self._intake else False
        live = [*effort.eager, *effort.lazy]
        busy |= self.refresher.put_back()
        busy |= self.refresher.step(effort.eager, live)
        if self._is_due("requests", REQUESTS_EVERY):
            self._chores.answer_requests(effort.eager)
        if self._is_due("retry", RETRY_SECONDS):
            self.refresher.ready([version for version in live if version.id in self.refresher.failing])
        if self._is_due("lazy", self._lazy_seconds):
            self._refresh_in_batches(effort)
        if self._is_due("seal", SEAL_EVERY):
            self._chores.seal()
        return busy

    def _refresh_in_batches(self, effort: Effort) -> None:
        refresher, live = self.refresher, {version.id: version for version in (*effort.eager, *effort.lazy)}
        refresher.forget((refresher.failing.keys() | refresher.missed) - live.keys())
        if refresher.missed and not refresher.failing:  # they can be refreshed again, from where they failed on
            self._trailing |= refresher.missed
            refresher.missed.clear()
            self.held.rewind(lazily=True)
        late = self._trailing | {version.id for version in effort.lazy}
        if self._chores.refresh_in_batches([version for id, version in live.items() if id in late]):
            self._next["lazy"] = 0.0  # there is more
        elif not refresher.missed:
            self._trailing.clear()

    def _follow(self) -> ServingState:
        """The newest state; the registry knows that this shard follows it before the shard acts on it."""
        if self._state is None or self._is_due("poll", self._poll_seconds):
            generation = read_generation(self._registry.database)
            if self._state is None or generation != self._state.generation:
                before = self._state
                state = read_state(self._registry.database)
                if before is None:
                    self.refresher.ready(Effort.from_state(state).eager)
                self._state = state
                self._note_trailing(before, self._state)
                self._next["beat"] = 0.0
        if self._is_due("beat", BEAT_SECONDS):
            facts = self.refresher.counts.facts() | {"failing": self.refresher.failing}
            if self._intake:
                facts["in_broker"] = self._intake.waiting()
            self._registry.replicas.seen(self.id, self._host, self._state.generation, "shard", facts)
        return self._state

    def _note_trailing(self, before: ServingState | None, now: ServingState) -> None:
        """Schedule a last batch at once for versions that were refreshed in batches and are eager from now on."""
        if before is not None:
            self._trailing |= {version.id for version in Effort.from_state(before).lazy}
        self._next["lazy"] = 0.0

    def _is_due(self, what: str, every: float) -> bool:
        now = self._clock()
        if now < self._next.get(what, 0.0):
            return False
        self._next[what] = now + every
        return True

    def attempt(self) -> float:
        """`once`, with what went wrong told and its lesson drawn; returns the seconds to wait before the next one."""
        try:
            if self.once():
                self._busy_at = self._clock()
            self._away = False
            calm = self._clock() - self._busy_at > CALM_AFTER
            return 0.0 if self.refresher.pressed else IDLE_SECONDS if calm else FILL_SECONDS
        except LeaseLost as error:
            log.info("%s", error)
            self._next["attest"] = 0.0  # the fences may be gone, alone or with all else of the store
            self.held.fence_anew()
            self.attempt_renewal()
            return 0.0
        except PortraitError as error:
            if not self._away:  # once an outage
                log.warning("the refresh waits: %s", error)
            if isinstance(error, Unavailable):
                # The store may come back without its last writes, so go back before anything is written to it: a
                # newer row on an older history would carry its position, and the missing rows would lose to it.
                self._away = True
                self._next["attest"] = 0.0
                self.held.rewind()
        except Exception:
            log.exception("the refresh failed; trying again")
        return AWAY_SECONDS

    def attempt_renewal(self) -> None:
        """Renew the leases once the store was compared; a failure is only told, as the next attempt comes soon."""
        if not self._attested.is_set():
            return
        try:
            self.held.renew()
        except PortraitError as error:
            log.info("leases were not renewed: %s", error)
        except Exception:
            log.exception("renewing leases failed; trying again")

    def _work(self) -> None:
        while not self._stopped.is_set():
            if seconds := self.attempt():
                self._stopped.wait(seconds)

    def _renew(self) -> None:
        while not self._stopped.is_set():
            if self._attested.wait(RENEW_SECONDS):
                self.attempt_renewal()
                self._stopped.wait(RENEW_SECONDS)
