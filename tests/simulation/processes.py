"""Processes of a schedule: refresh shards and gateways, each with its own memory, over the shared servers."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from portrait.feature_repo.history.logged_users import LoggedUsers
from portrait.feature_repo.log.leases import LEASE, Leases
from portrait.feature_repo.store.fenced_writes import FencedWrites
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.refresh.chores import Chores
from portrait.serving.refresh.counts import RefreshCounts
from portrait.serving.refresh.held_buckets import HeldBuckets
from portrait.serving.refresh.refresher import Refresher
from portrait.serving.refresh.shard import Shard
from portrait.serving.state.assignment_poller import Assignments, RegistrySource
from portrait.serving.state.state_file import StateFile
from portrait.serving.state.store_watch import StoreWatch
from tests.simulation.chance import Chance
from tests.simulation.instance import BUCKETS, KnownItems, SimulatedEncoder, SimulatedLog, SimulatedRepo, settings
from tests.simulation.memory_store import MemoryOnlineStore, StoreServer
from tests.simulation.sql import MemoryServer, SimulatedDatabase
from tests.simulation.steps import Steps
from tests.simulation.wire import Clock, Wire

POLL_SECONDS = 0.8
LAZY_SECONDS = 0.35, 1.5
NEVER = 10**9


@dataclass
class Surroundings:
    """What all processes of a schedule share."""

    chance: Chance
    steps: Steps
    clock: Clock = field(default_factory=Clock)
    sql: MemoryServer = field(default_factory=MemoryServer)
    store: StoreServer = field(default_factory=StoreServer)
    broken: set[str] = field(default_factory=set)  # versions whose model fails

    def __post_init__(self) -> None:
        self.lazy_seconds = self.chance.one(LAZY_SECONDS)


class Process:
    """A process: its wire, and its own handles on database and store."""

    def __init__(self, name: str, shared: Surroundings, mortal: bool = True) -> None:
        self.name = name
        self.shared = shared
        self.wire = Wire(name, shared.chance, shared.steps, mortal)
        self.database = SimulatedDatabase(shared.sql, self.wire, shared.clock)
        self.store = MemoryOnlineStore(
            shared.store,
            name,
            lambda kind: self.wire.before("store", kind),
            lambda kind: self.wire.after("store", kind),
        )
        self.registry = Registry(self.database)
        self.repo = SimulatedRepo(self.registry, SimulatedLog(self.database, settings()), self.store)
        self.encoders = EncoderCache(self._load)

    def _load(self, version: EmbeddingVersion) -> SimulatedEncoder:  # a stand-in for training's Encoder
        return SimulatedEncoder(version.id, self.shared.broken)


class TurnLock:
    """A lock in whose queue a step waits as a paused one does, instead of stopping the only thread that runs."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._taken = False

    def __enter__(self) -> None:
        while self._taken:
            self._steps.wait()
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False


class ShardProcess(Process):
    """A refresh shard, as serving/refresh/build.py builds it."""

    def __init__(self, name: str, shared: Surroundings) -> None:
        super().__init__(name, shared)
        writes, registry, clock = FencedWrites(self.repo), self.registry, shared.clock

        def shards() -> int:
            return sum(replica.role == "shard" for replica in registry.replicas.list(LEASE))

        def now() -> float:
            return clock.now

        self.held = HeldBuckets(Leases(self.database, name, BUCKETS), writes, shards, now)
        self.held._renewing = TurnLock(shared.steps)  # type: ignore[assignment]
        log = self.repo.log
        self.refresher = Refresher(
            self.repo, writes, self.encoders, self.held, RefreshCounts(), KnownItems(log), LoggedUsers(log)
        )
        chores = Chores(self.refresher, NEVER, NEVER)
        self.shard = Shard(name, registry, self.refresher, chores, None, POLL_SECONDS, shared.lazy_seconds, now)

    def work(self) -> None:
        """One round."""
        self.shard.attempt()

    def renew(self) -> None:
        """One renewal of the leases."""
        self.shard.attempt_renewal()

    @property
    def at_rest(self) -> bool:
        """Whether it has nothing left to do in the buckets that it holds."""
        done = self.refresher
        return not (done.behind or done.missed or done.failing or self.held.lost())


class GatewayProcess(Process):
    """A gateway's knowledge: the assignments, the copy of them on disk, and what it has seen of the store."""

    def __init__(self, name: str, shared: Surroundings) -> None:
        super().__init__(name, shared)
        source = RegistrySource(self.registry)
        source._id = name
        kept = StateFile(settings().home / f"{name}.json", "the registry")
        self.assignments = Assignments(source, POLL_SECONDS, kept)
        self.watch = StoreWatch(self.repo.identity)
        self.reader = EmbeddingReader(self.repo, self.assignments, self.encoders, self.watch)
        self.started = False

    def poll(self) -> None:
        """Ask the registry, as the polling thread does; the first time, begin."""
        if not self.started:
            self.started = True
            self.assignments.begin()
            return
        self.assignments.refresh()

    def beat(self) -> None:
        """Keep and report the state that is served."""
        state = self.assignments.known
        if state is not None and self.assignments.origin == "registry":
            self.assignments._heartbeat._beat(state)


@contextmanager
def forgiving() -> Iterator[None]:
    """A block whose process asks again later where a server does not answer."""
    with suppress(Unavailable):
        yield
