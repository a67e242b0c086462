"""The world of one schedule: servers, processes, what people and mishaps do to them, and what is true of them."""

import sqlite3
from collections.abc import Callable
from functools import partial

from portrait.feature_repo.log import refresh_requests
from portrait.feature_repo.log.inbox import ArrivingRecord, Inbox
from portrait.feature_repo.online.codec import user_keys
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict, GateRefused, NotFound, Unavailable
from portrait.registry.serving_state.replicas import SHARDS
from tests.simulation.chance import Chance
from tests.simulation.instance import (
    BUCKETS,
    CONSUMER,
    VERSIONS,
    SimulatedForgetting,
    template,
    users,
)
from tests.simulation.ledger import Ledger, event, profile
from tests.simulation.memory_store import StoreImage, StoreServer
from tests.simulation.processes import GatewayProcess, Process, ShardProcess, Surroundings, forgiving, settings
from tests.simulation.sql import MemoryServer
from tests.simulation.steps import Steps
from tests.simulation.wire import Clock

LOSABLE = 10.0
"""Seconds of writes that a store may lose when its server stops, see DOUBT in feature_repo/store/store_identity.py."""

PATIENCE = 15.0
SHARD_NAMES = "shard-a", "shard-b"
MANY = 10**9


class World:
    """One schedule's world, from a copy of the template."""

    def __init__(self, chance: Chance, sql: MemoryServer, steps: Steps) -> None:
        made = template()
        sql.restore(made.tables)
        clock = Clock()
        self.chance, self.steps, self.clock = chance, steps, clock
        store = StoreServer(made.store.copy(), now=lambda: clock.now, remembers=chance.has("store restarts"))
        self.shared = Surroundings(chance, steps, clock, sql, store)
        self.ledger = Ledger()
        self.shards = {name: ShardProcess(name, self.shared) for name in SHARD_NAMES[: 2 if chance.of(0.6) else 1]}
        for path in settings().home.glob("gateway*"):
            path.unlink()
        self.gateways = {name: GatewayProcess(name, self.shared) for name in ("gateway-a",)}
        self.sender = Process("sender", self.shared)
        self.operator = Process("operator", self.shared)
        self.users = users()
        self.events = 0
        self.forgetting: dict[str, bool] = {}  # by user whether it has finished
        self.evicted: set[str] = set()
        self.store_backup: StoreImage | None = None
        self.registry_backup: tuple[sqlite3.Connection, int] | None = None
        self.deleted: dict[str, int] = {}  # versions whose vectors are being deleted, and their generation
        self.happened = 0  # mishaps of servers

    @property
    def raw(self) -> sqlite3.Connection:
        """The database, without a wire."""
        return self.shared.sql.raw

    @property
    def processes(self) -> list[Process]:
        return [*self.shards.values(), *self.gateways.values(), self.sender, self.operator]

    # ---------------------------------------------------------------- what programs do

    def deliver(self) -> Callable[[], object]:
        """Send some records, new ones or such as were not acknowledged."""
        chance, ledger = self.chance, self.ledger
        for _ in range(1 + int(chance.random.random() * 3)):
            user = chance.one(self.users)
            self.events += 1
            ledger.waiting.append(profile(user, chance) if chance.of(0.25) else event(user, self.events, chance))
        chance.random.shuffle(ledger.waiting)
        records = ledger.waiting[: 1 + int(chance.random.random() * 4)]
        if chance.has("twice") and ledger.acknowledged and chance.of(0.5):
            chance.sometimes("delivered twice")
            records = [*records, chance.one(ledger.acknowledged)]
        return partial(self.send, records)

    def send(self, records: list[ArrivingRecord]) -> None:
        """Send records to the inbox; unanswered, they wait to be sent again."""
        inbox: Inbox = self.sender.repo.log.inbox
        with forgiving():
            self.ledger.answer(records, inbox.accept(records))

    def read(self, gateway: GatewayProcess) -> None:
        """Look at the store and read some users, as a request of a consumer does; ask for what had to be computed."""
        with forgiving():
            happened = self.happened
            gateway.watch.look()
            if happened == self.happened:
                self.on_looked(gateway)
        try:
            answer = gateway.reader.read(CONSUMER, self.users[:3])
        except (Unavailable, NotFound, Conflict):
            return
        missing = [user for user, source in zip(self.users[:3], answer.source, strict=True) if source == "computed"]
        if missing:
            self.chance.sometimes("computed on read")
            with forgiving():
                refresh_requests.ask(gateway.repo.log, missing)

    def poll(self, gateway: GatewayProcess) -> None:
        """Poll the registry, and tell it what is served."""
        with forgiving():
            gateway.poll()
        gateway.beat()

    # ---------------------------------------------------------------- what people do

    def forget(self, user: str) -> None:
        """Forget a user; broken off, it is done again later."""
        self.forgetting.setdefault(user, False)
        chance = self.chance
        by = self.operator
        forgetting = SimulatedForgetting(by.repo, by.registry, self.await_shards)
        try:
            forgetting.forget(user)
        except (Unavailable, NotFound):
            chance.sometimes("forgetting broken off")
        except Conflict:
            chance.sometimes("a shard does not follow a forgetting")
        else:
            self.forgetting[user] = True
            chance.sometimes("forgotten")

    def await_shards(self, generation: int) -> None:
        """As `portrait forget` waits for the shards."""
        self._await(generation, roles=SHARDS)

    def _await(self, generation: int, **asked: object) -> None:
        until = self.clock.now + PATIENCE
        while self.operator.registry.replicas.behind(generation, **asked):  # type: ignore[arg-type]
            if self.clock.now > until:
                raise Conflict("some do not follow")
            self.chance.sometimes("waited for those who follow")
            self.steps.wait()

    def promote(self, version: str) -> None:
        """Promote a version, or go back."""
        promotions = self.operator.registry.promotions
        try:
            if self.chance.of(0.3):
                promotions.rollback(CONSUMER)
            else:
                promotions.promote(CONSUMER, version, "try it", force=True)
            self.chance.sometimes("promoted")
        except (Unavailable, Conflict, GateRefused):
            pass

    def retire(self, version: str) -> None:
        """Retire a version, as `portrait retire` does: its vectors go once everybody follows."""
        operator = self.operator
        try:
            generation = operator.registry.retirements.begin(version)
            self._await(generation)
            self.deleted[version] = generation
            self.on_deleting(generation)
            operator.repo.delete_vectors(operator.registry.versions.get(version))
            operator.registry.retirements.finish(version)
            self.chance.sometimes("retired")
        except (Unavailable, Conflict):
            pass

    def windows_end(self) -> None:
        """Fourteen days later, nobody may go back any more."""
        self.raw.execute("DELETE FROM rollback_windows")

    def publish(self) -> None:
        """`portrait publish`, without the vectors.

        Not before there are leases: what is published before any shard worked, a backfill embeds.
        """
        repo = self.operator.repo
        if not self.raw.execute("SELECT 1 FROM leases").fetchone():
            return
        try:
            repo.identity.attest()
            lost = repo.identity.lost()
            for bucket in range(BUCKETS):
                repo.publish_bucket(bucket, 0 if bucket in lost else None)
            self.chance.sometimes("published by command")
        except Unavailable:
            pass

    def take_over(self) -> None:
        """`portrait publish --take-over`."""
        with forgiving():
            self.operator.repo.identity.take_over({})
            self.chance.sometimes("taken over")

    # ---------------------------------------------------------------- what happens to them

    def kill(self, name: str) -> None:
        """End a process where it is; another one of its name begins, and knows what is durable."""
        self.chance.say(f"  {name} ends, and begins anew")
        self.steps.kill(name)
        if name in self.shards:
            self.shards[name] = ShardProcess(name, self.shared)
        elif name in self.gateways:
            self.gateways[name] = GatewayProcess(name, self.shared)
        else:
            setattr(self, name, Process(name, self.shared))

    def restart_store(self) -> None:
        """The store's server restarts, without some of its last writes."""
        store, now = self.shared.store, self.clock.now
        self.happened += 1
        lost = [image for at, image in store.past if at >= now - LOSABLE + 0.5]
        image = self.chance.one(lost) if lost and self.chance.of(0.7) else None
        self.chance.sometimes("store restarted" if image is None else "store lost its last writes")
        store.restart(image)
        store.past.clear()

    def empty_store(self) -> None:
        """FLUSHALL, or an empty server in the place of this one."""
        store = self.shared.store
        self.happened += 1
        store.past.clear()
        empty = StoreImage({}, {}, None)
        if self.chance.of(0.5):
            self.chance.sometimes("store emptied in place")
            store.held = empty
        else:
            self.chance.sometimes("store exchanged for an empty one")
            store.restart(empty)

    def restore_store(self) -> None:
        """Put the store's backup back; the first time, make it."""
        if self.store_backup is None:
            self.store_backup = self.shared.store.held.copy()
            return
        self.happened += 1
        self.shared.store.past.clear()
        self.shared.store.restart(self.store_backup)
        self.chance.sometimes("store restored from a backup")

    def restore_registry(self) -> None:
        """Put the registry's backup back; the first time, make it. What was accepted since is gone, as its users know.

        A registry that is put back before the next beat is not told from the one of before.
        """
        if self.registry_backup is None:
            self.registry_backup = self.shared.sql.image(), self._beat()
            return
        image, beat = self.registry_backup
        if self._beat() == beat:
            return
        self.happened += 1
        self.shared.sql.restore(image)
        self.chance.sometimes("registry restored from a backup")
        kept = {payload for (payload,) in self.raw.execute("SELECT payload FROM inbox")}
        self.ledger.acknowledged = [one for one in self.ledger.acknowledged if one.payload in kept]
        self.forgetting = dict.fromkeys(self.forgetting, False)
        self.deleted.clear()
        self.on_registry_restored()

    on_registry_restored: Callable[[], object] = staticmethod(lambda: None)
    on_looked: Callable[[GatewayProcess], object] = staticmethod(lambda _: None)
    on_deleting: Callable[[int], object] = staticmethod(lambda _: None)

    def _beat(self) -> int:
        return int(self.raw.execute("SELECT beat FROM online_store").fetchone()[0])

    def evict(self) -> None:
        """The store drops the rows of a user."""
        user = self.chance.one(self.users)
        [key] = user_keys([user])
        held = [rows for rows in self.shared.store.held.rows.values() if key in rows]
        for rows in held:
            del rows[key]
        if held:
            self.evicted.add(user)
            self.chance.sometimes("row evicted")

    def cut(self, process: Process) -> None:
        """Cut a process off from the database or the store, or end such a cut."""
        if process.wire.cut:
            process.wire.cut.clear()
        else:
            process.wire.cut.add(self.chance.one(("sql", "store")))

    def break_model(self) -> None:
        """The model of a version fails, or works again."""
        broken = self.shared.broken
        if broken:
            broken.clear()
        else:
            broken.add(self.chance.one(VERSIONS))
            self.chance.sometimes("model damaged")

    def jump(self) -> None:
        """The database's clock jumps."""
        self.clock.off += self.chance.one((-8.0, -2.0, 3.0, 9.0, 40.0))
        self.chance.sometimes("clock of the database jumped")

    def is_ahead(self) -> bool:
        """Whether the store knows rows that the registry does not."""
        held, row = self.shared.store.held.mark, self.raw.execute("SELECT beat FROM online_store").fetchone()
        return held is not None and row is not None and held.beat > row[0]

    def live_versions(self) -> list[str]:
        """The versions that shards keep up to date."""
        ready = VersionState.READY.value
        return [id for (id,) in self.raw.execute("SELECT id FROM embedding_versions WHERE state = ?", (ready,))]
