"""Kills at random moments of the stream: `kill -9` of every process."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.torture.ledger import Ledger
from tests.torture.processes import GATEWAY, SHARD, RedisServer, Serving


class Victim(StrEnum):
    """What is killed."""

    GATEWAY = "gateway"
    SHARD = "shard"
    REDIS = "redis"
    EVERYTHING = "everything"


BOTH = 0.25
"""Chance that something else is killed right after."""


@dataclass(frozen=True)
class Strike:
    """What is killed, one right after the other, once so many events have been answered."""

    at: int
    victims: tuple[Victim, ...]
    pause: float  # seconds from that moment on, and between two victims
    down: float  # seconds that Redis stays away


def plan(seed: int, events: int, kills: int) -> list[Strike]:
    """Strikes in their order; all four kinds have their turn, beginning with one that depends on the seed."""
    rng = random.Random(seed)
    kinds = list(Victim)
    strikes = []
    for number, at in enumerate(sorted(rng.randint(0, events) for _ in range(kills))):
        victims = [kinds[(seed + number) % len(kinds)]]
        if victims[0] is not Victim.EVERYTHING and rng.random() < BOTH:
            victims.append(rng.choice([kind for kind in kinds[:3] if kind is not victims[0]]))
        strikes.append(Strike(at, tuple(victims), rng.uniform(0.0, 1.0), rng.uniform(0.1, 1.5)))
    return strikes


class Chaos:
    """A thread that carries out a plan; `came_back` is called after everything has been started again."""

    def __init__(
        self,
        strikes: Sequence[Strike],
        ledger: Ledger,
        serving: Serving,
        store: RedisServer,
        came_back: Callable[[float], None],
    ) -> None:
        self._strikes = strikes
        self._ledger = ledger
        self._serving = serving
        self._store = store
        self._came_back = came_back
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.kills: Counter[Victim] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, until: float) -> bool:
        """Wait (to a time of time.monotonic) until the plan is carried out; whether it is."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Leave the rest of the plan."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for strike in self._strikes:
                while len(self._ledger.answered) < strike.at:
                    if self._stopped.wait(0.02):
                        return
                self._carry_out(strike)
        except BaseException as error:
            self.failure = error

    def _carry_out(self, strike: Strike) -> None:
        for victim in strike.victims:
            if self._stopped.wait(strike.pause):
                return
            if victim is Victim.EVERYTHING:
                self._kill_everything(strike.down)
            elif victim is Victim.REDIS:
                self._store.kill()
                self._stopped.wait(strike.down)
                self._store.start()
            elif not self._killed(victim):
                continue
            self.kills[victim] += 1

    def _killed(self, victim: Victim) -> bool:
        """Kill a process of Ray's, once it is there: it may have been killed just before."""
        until = time.monotonic() + 30
        while not self._serving.kill(GATEWAY if victim is Victim.GATEWAY else SHARD):
            if time.monotonic() > until or self._stopped.wait(0.05):
                return False
        return True

    def _kill_everything(self, down: float) -> None:
        self._store.kill()
        self._serving.kill_all()
        self._stopped.wait(down)
        started = time.monotonic()
        self._store.start()
        self._serving.start()
        self._came_back(started)
