"""Mishaps at random moments of the stream: `kill -9` of every process, and what befalls network, disk and store."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from portrait.feature_repo.log.leases import LEASE
from tests.serving.proxy import Proxy
from tests.torture.ledger import Ledger
from tests.torture.processes import GATEWAY, SHARD, RedisServer, Serving
from tests.torture.small_disk import SmallDisk


class Victim(StrEnum):
    """What is killed, or befalls it."""

    GATEWAY = "gateway"
    SHARD = "shard"
    REDIS = "redis"
    EVERYTHING = "everything"
    FROZEN = "shard frozen"  # SIGSTOP for longer than a lease
    CUT = "network cut"  # between all processes and Redis
    FULL = "disk full"  # that of the home
    EMPTIED = "store emptied"
    RESTORED = "store restored"  # from a backup of the beginning of the stream


KILLED_TOO = (Victim.GATEWAY, Victim.SHARD, Victim.REDIS)
BOTH = 0.25
"""Chance that one of these is killed right after something else was."""

STREAMS = frozenset({Victim.EMPTIED, Victim.RESTORED})
"""What a broker on the same Redis does not survive: its acknowledged events are in no other place yet."""

FROZEN_SECONDS = LEASE.total_seconds() + 2.0
FULL_SECONDS = 5.0
CUT_SECONDS = 3.0


@dataclass(frozen=True)
class Strike:
    """What is killed, one right after the other, once so many events have been answered."""

    at: int
    victims: tuple[Victim, ...]
    pause: float  # seconds from that moment on, and between two victims
    down: float  # seconds that Redis stays away


def plan(seed: int, events: int, kills: int, broker: bool = False) -> list[Strike]:
    """Strikes in their order; all kinds have their turn, beginning with one that depends on the seed."""
    rng = random.Random(seed)
    kinds = [kind for kind in Victim if not (broker and kind in STREAMS)]
    strikes = []
    for number, at in enumerate(sorted(rng.randint(0, events) for _ in range(kills))):
        victims = [kinds[(seed + number) % len(kinds)]]
        if victims[0] is not Victim.EVERYTHING and rng.random() < BOTH:
            victims.append(rng.choice([kind for kind in KILLED_TOO if kind is not victims[0]]))
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
        network: Proxy,
        disk: SmallDisk | None,
        came_back: Callable[[float], None],
    ) -> None:
        self._strikes = strikes
        self._ledger = ledger
        self._serving = serving
        self._store = store
        self._network = network
        self._disk = disk
        self._came_back = came_back
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.kills: Counter[Victim] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._store.back_up()
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
            elif not self._befallen(victim):
                continue
            self.kills[victim] += 1

    def _befallen(self, victim: Victim) -> bool:
        """Carry out what is no matter of start and end; whether it could be."""
        if victim is Victim.FROZEN:
            return self._freeze()
        if victim is Victim.CUT:
            self._network.hush()
            self._stopped.wait(CUT_SECONDS)
            self._network.cut()  # what is open now is at an end: nobody waits for an answer for ever
            self._network.mend()
        elif victim is Victim.FULL:
            return self._fill_disk()
        elif victim is Victim.EMPTIED:
            self._store.empty()
        elif victim is Victim.RESTORED:
            self._store.restore()
        else:
            return self._killed(victim)
        return True

    def _freeze(self) -> bool:
        frozen = self._serving.freeze(SHARD)
        if frozen is None:
            return False
        self._stopped.wait(FROZEN_SECONDS)
        frozen.resume()
        return True

    def _fill_disk(self) -> bool:
        if self._disk is None:
            return False
        self._disk.fill()
        self._stopped.wait(FULL_SECONDS)
        self._disk.free()
        return True

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
