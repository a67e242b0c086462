"""Checks: what must hold after every step, at every write, after every look at the store, and when all is at rest."""

import logging
from datetime import timedelta

import numpy as np
from feast.protos.feast.types.Value_pb2 import Value

from portrait.feature_repo.declaration.views import HISTORY_VIEW, PROFILE_VIEW, view_name
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.online.codec import decode_vector, user_keys, user_of_key
from portrait.feature_repo.online.rows import VECTOR, Fence, Row
from portrait.registry.serving_state.replicas import ALIVE
from portrait.serving.state.routing import served_versions
from tests.simulation.instance import BUCKETS, CONSUMER
from tests.simulation.memory_store import MemoryOnlineStore
from tests.simulation.processes import GatewayProcess
from tests.simulation.reference import DIMENSION, LISTS, Known, fold_all, read_rows
from tests.simulation.sql import START
from tests.simulation.world import World

FLOOR = 1_577_836_800_000_000
"""The template's backfills are of 2020, before every event."""


class Violation(AssertionError):
    """Something that must hold does not; `check` names what."""

    def __init__(self, check: str, what: str) -> None:
        super().__init__(f"{check}: {what}")
        self.check = check


class Checks:
    """The checks of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fenced: dict[
            tuple[str, int], tuple[MemoryOnlineStore, int]
        ] = {}  # who raised the fence of a filling's bucket last
        self._late: str | None = None
        self._positions: dict[tuple[str, int], tuple[int, ...]] = {}
        self._assigned: dict[int, str] = {}  # the stable version, by generation
        self._reported: dict[str, int] = {}
        world.shared.store.on_write = self._written
        world.shared.store.on_fence = self._raised
        world.on_registry_restored = self._begin_anew
        world.on_looked = self.looked
        world.on_deleting = self.deleting
        self._note_assignment()

    # ------------------------------------------------------------------ at every write

    def _raised(self, client: MemoryOnlineStore, fence: Fence) -> None:
        holder = self._fenced.get(self._place(fence.bucket))
        if holder is None or fence.epoch > holder[1]:
            self._fenced[self._place(fence.bucket)] = client, fence.epoch

    def _place(self, bucket: int) -> tuple[str, int]:
        mark = self._world.shared.store.held.mark
        return mark.store if mark is not None else "", bucket

    def _written(self, client: MemoryOnlineStore, row: Row) -> None:
        user = user_of_key(row.key)
        if user is None or not client.owner.startswith("shard"):
            return
        holder = self._fenced.get(self._place(bucket_of(user)))
        if row.fence is None:
            self._late = f"{client.owner} wrote {user} without a fence"
        elif holder is None or holder[0] is not client or row.fence.epoch < holder[1]:
            self._late = f"{client.owner} wrote {user} under epoch {row.fence.epoch}, after {holder and holder[1]}"

    # ------------------------------------------------------------------ after every step

    def step(self) -> None:
        """What holds at any time."""
        if UNEXPECTED:
            what = UNEXPECTED.pop()
            UNEXPECTED.clear()
            raise Violation("unexpected error", what)
        if self._late is not None:
            raise Violation("old epoch", self._late)
        self._note_assignment()
        self._positions_grow()
        self._forgotten_are_gone()
        for gateway in self._world.gateways.values():
            self._gateway(gateway)

    def _positions_grow(self) -> None:
        raw = self._world.raw
        tables = {
            "lease": "SELECT bucket, epoch, applied, applied_lazily FROM leases",
            "bucket": "SELECT bucket, next_position, published FROM buckets",
        }
        for table, query in tables.items():
            for bucket, *now in raw.execute(query).fetchall():
                before = self._positions.get((table, bucket), (0,) * len(now))
                if any(a < b for a, b in zip(now, before, strict=True)):
                    raise Violation("positions", f"those of {table} {bucket} went from {before} to {tuple(now)}")
                self._positions[table, bucket] = tuple(now)

    def _forgotten_are_gone(self) -> None:
        world = self._world
        for user, finished in world.forgetting.items():
            if not finished:
                continue
            [key] = user_keys([user])
            views = [view for view, rows in world.shared.store.held.rows.items() if key in rows]
            if views:
                raise Violation("forgotten", f"{user} is still in {', '.join(views)}")
            for table in ("inbox", "refresh_requests"):
                if world.raw.execute(f"SELECT 1 FROM {table} WHERE user_id = ?", (user,)).fetchone():
                    raise Violation("forgotten", f"{user} is still in the {table}")

    def _gateway(self, gateway: GatewayProcess) -> None:
        reported = self._world.raw.execute("SELECT generation FROM replicas WHERE id = ?", (gateway.name,)).fetchone()
        if reported is not None:
            before = self._reported.get(gateway.name, 0)
            if reported[0] < before:
                raise Violation("generation", f"{gateway.name} reported {reported[0]} after {before}")
            self._reported[gateway.name] = reported[0]
        state = gateway.assignments.known
        if state is None:
            return
        least = self._reported.get(gateway.name, 0)
        if state.generation < least:
            raise Violation("generation", f"{gateway.name} serves {state.generation} and has reported {least}")
        route = gateway.assignments.route(CONSUMER)
        truth = self._assigned.get(state.generation)
        if truth is not None and route.stable.id != truth:
            raise Violation("assignment", f"{gateway.name} serves {route.stable.id} at {state.generation}, not {truth}")
        for version in served_versions(state):
            since = self._world.deleted.get(version.id)
            if since is not None and least >= since:
                raise Violation("assignment", f"{gateway.name} serves {version.id}, which is retired")

    def deleting(self, generation: int) -> None:
        """When vectors of a version are deleted, every gateway that was seen lately follows."""
        world = self._world
        lately = START + timedelta(seconds=world.clock.now + world.clock.off) - ALIVE
        seen = "SELECT id FROM replicas WHERE role = 'gateway' AND seen_at >= ?"
        for (name,) in world.raw.execute(seen, (f"{lately:%Y-%m-%d %H:%M:%S.%f}",)).fetchall():
            state = world.gateways[name].assignments.known
            if state is not None and state.generation < generation:
                raise Violation("assignment", f"{name} is at {state.generation} when vectors go for {generation}")

    def _note_assignment(self) -> None:
        raw = self._world.raw
        generation = raw.execute("SELECT generation FROM instance").fetchone()[0]
        if generation not in self._assigned:
            [stable] = raw.execute("SELECT stable FROM assignments WHERE consumer = ?", (CONSUMER,)).fetchone()
            self._assigned[generation] = stable

    def _begin_anew(self) -> None:
        """A restored registry is at earlier positions and generations."""
        self._positions.clear()
        self._assigned.clear()
        self._reported.clear()
        self._note_assignment()

    # ------------------------------------------------------------------ after a look at the store

    def looked(self, gateway: GatewayProcess) -> None:
        """A store that lacks settled rows is not taken as sound."""
        if not gateway.watch.sound:
            self._world.chance.sometimes("reads flagged as stale")
            return
        stable = gateway.assignments.known and gateway.assignments.route(CONSUMER).stable.id
        settled = dict(self._world.raw.execute("SELECT bucket, applied_lazily FROM leases").fetchall())
        for bucket in range(BUCKETS):
            up_to = settled.get(bucket, 0)
            for known in fold_all(read_rows(self._world.raw, bucket), up_to).values():
                if known.user in self._exempt:
                    continue
                for view in (HISTORY_VIEW, *([view_name(stable)] if stable else [])):
                    if self._stored_position(view, known.user) < known.least:
                        raise Violation("soundness", f"the store counts as sound, and {view} lacks {known.user}")

    @property
    def _exempt(self) -> set[str]:
        """Users whose rows may lack while the mark stays."""
        return self._world.evicted | self._world.forgetting.keys()

    def _stored_position(self, view: str, user: str) -> int:
        [key] = user_keys([user])
        stored = self._world.shared.store.held.rows.get(view, {}).get(key)
        return stored[1].position if stored else 0

    # ------------------------------------------------------------------ at rest

    def rest(self) -> None:
        """Log, histories, profiles and vectors are what the reference computes from the accepted rows."""
        world = self._world
        rows = world.raw.execute("SELECT event_id, payload FROM inbox").fetchall()
        forgotten = set(world.forgetting) | world.ledger.refused
        if wrong := world.ledger.lost(rows, forgotten):
            raise Violation("log", wrong[0])
        lost = [bucket for (bucket,) in world.raw.execute("SELECT bucket FROM buckets WHERE lost").fetchall()]
        if lost:
            raise Violation("restored", f"buckets {lost} are still noted as lost")
        generation = world.raw.execute("SELECT generation FROM instance").fetchone()[0]
        for gateway in world.gateways.values():
            state = gateway.assignments.known
            if state is None or state.generation != generation:
                raise Violation("generation", f"{gateway.name} serves {state and state.generation}, not {generation}")
            [stable] = world.raw.execute("SELECT stable FROM assignments WHERE consumer = ?", (CONSUMER,)).fetchone()
            if gateway.assignments.route(CONSUMER).stable.id != stable:
                raise Violation("assignment", f"{gateway.name} does not serve {stable}")
        known: dict[str, Known] = {}
        for bucket in range(BUCKETS):
            known |= fold_all(read_rows(world.raw, bucket))
        live = world.live_versions()
        for one in known.values():
            self._history(one)
            for version in live:
                self._vector(one, version)
        self._nobody_else(known)

    def _history(self, known: Known) -> None:
        held = self._world.shared.store.held.rows
        [key] = user_keys([known.user])
        stored = held.get(HISTORY_VIEW, {}).get(key)
        if stored is None:
            raise Violation("history", f"{known.user} has none")
        values, order = stored
        if (ids := _list(values["event_ids"])) != known.event_ids:
            raise Violation("history", f"{known.user} has {ids}, not {known.event_ids}")
        for name, place in LISTS.items():
            if _list(values[name]) != [payload[place] for _, payload in known.events]:
                raise Violation("history", f"{name} of {known.user} are {_list(values[name])}")
        if not known.least <= order.position <= known.newest:
            raise Violation("history", f"{known.user} is at {order.position}, not {known.least} to {known.newest}")
        if not known.profiled:
            return
        profile = held.get(PROFILE_VIEW, {}).get(key)
        if profile is None:
            raise Violation("profile", f"{known.user} has none")
        country = Value.FromString(profile[0].get("country", b""))
        created = Value.FromString(profile[0].get("created_time", b""))
        found = (
            country.string_val if country.WhichOneof("val") else None,
            created.unix_timestamp_val * 1_000_000 if created.WhichOneof("val") else None,
        )
        wanted = known.profile.get("country"), known.profile.get("created_time")
        if found != wanted:
            raise Violation("profile", f"{known.user} has {found}, not {wanted}")

    def _vector(self, known: Known, version: str) -> None:
        held = self._world.shared.store.held.rows
        [key] = user_keys([known.user])
        stored = held.get(view_name(version), {}).get(key)
        if stored is None:
            raise Violation("vector", f"{known.user} has none at {version}")
        values, order = stored
        position = held[HISTORY_VIEW][key][1].position
        if order.position != position:
            raise Violation("vector", f"{known.user} is at {order.position} at {version}, its history at {position}")
        as_of = max(FLOOR, known.later)
        if order.as_of != as_of or not np.array_equal(
            decode_vector(values[VECTOR], DIMENSION), known.vector(version, as_of)
        ):
            raise Violation("vector", f"that of {known.user} at {version} is not of its history and profile")

    def _nobody_else(self, known: dict[str, Known]) -> None:
        for view, rows in self._world.shared.store.held.rows.items():
            for user in map(user_of_key, rows):
                if user is not None and user not in known and view in (HISTORY_VIEW, PROFILE_VIEW):
                    raise Violation("history", f"{view} knows {user}, of whom the log knows nothing")


def _list(value: bytes) -> list[object]:
    message = Value.FromString(value)
    field = message.WhichOneof("val")
    return [] if field is None else list(getattr(message, field).val)


UNEXPECTED: list[str] = []
"""Errors with a traceback that were logged and not raised: no part expects them."""


class _Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            UNEXPECTED.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


def listen() -> None:
    """From now on hear of errors that nobody expects, and nothing else."""
    logger = logging.getLogger("portrait")
    logger.handlers, logger.propagate = [_Listener(logging.ERROR)], False
    logger.setLevel(logging.ERROR)
