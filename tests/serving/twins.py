"""In-memory twins of the gateway's parts, and a factory for each record."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log.inbox import Arriving, Outcome
from portrait.feature_repo.schemas import TIME
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import ApiKey, Assignment, Consumer, EmbeddingVersion
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.arrivals.inbox_writer import Arrived, InboxWriter
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.state.assignment_poller import Assignments
from tests.feature_repo.ingest.fixed_columns import FixedColumns

DIMENSION = 8
BACKFILLED = datetime(2024, 5, 1, tzinfo=UTC)
COMPUTED = datetime(2024, 5, 2, 3, 4, 5, 678901, tzinfo=UTC)
FINGERPRINTS = {"autoencoder-1": "f" * 64, "autoencoder-2": "a" * 64}


def version(id: str = "autoencoder-1", **changes: Any) -> EmbeddingVersion:
    family, number = id.rsplit("-", 1)
    made = EmbeddingVersion(
        id=id,
        family=family,
        number=int(number),
        fingerprint=FINGERPRINTS.get(id, id),
        dimension=DIMENSION,
        state=VersionState.READY,
        failure=None,
        run=f"run-{id}",
        artifact=f"artifacts/run-{id}",
        parent=None,
        snapshot="s1",
        data_from=None,
        data_to=datetime(2024, 4, 1, tzinfo=UTC),
        feature_schema={},
        config={},
        metrics={"loss": 0.5},
        code_revision="r1",
        created_at=datetime(2024, 4, 2, tzinfo=UTC),
        last_as_of=BACKFILLED,
    )
    return replace(made, **changes)


def consumer(name: str) -> Consumer:
    return Consumer(name, "team", "ranking", datetime(2024, 1, 1, tzinfo=UTC))


def assignment(
    name: str, stable: str, revision: int = 1, canary: str | None = None, share: float | None = None
) -> Assignment:
    return Assignment(name, stable, canary, share, revision, datetime(2024, 5, 3, tzinfo=UTC))


@dataclass
class TwinSource:
    """The registry: two versions, one consumer on each, one without any."""

    versions: dict[str, EmbeddingVersion] = field(
        default_factory=lambda: {id: version(id) for id in ("autoencoder-1", "autoencoder-2")}
    )
    assignments: dict[str, Assignment] = field(
        default_factory=lambda: {
            "ranker": assignment("ranker", "autoencoder-1"),
            "search": assignment("search", "autoencoder-2"),
        }
    )
    consumers: dict[str, Consumer] = field(
        default_factory=lambda: {name: consumer(name) for name in ("ranker", "search", "fresh")}
    )
    keys: dict[str, ApiKey] = field(default_factory=dict)
    number: int = 1
    away: bool = False
    reads: int = 0
    reported: list[int] = field(default_factory=list)
    left: bool = False

    def generation(self) -> int:
        if self.away:
            raise Unavailable("the registry does not answer")
        return self.number

    def report(self, generation: int, facts: Mapping[str, Any]) -> None:
        if self.away:
            raise Unavailable("the registry does not answer")
        self.reported.append(generation)

    def leave(self) -> None:
        self.left = True

    def read(self) -> ServingState:
        self.reads += 1
        state = (dict(self.assignments), dict(self.versions), dict(self.consumers), dict(self.keys))
        return ServingState(self.generation(), *state)

    def promote(self, name: str, to_version: str) -> None:
        self.assignments[name] = assignment(name, to_version, 2)
        self.number += 1

    def try_out(self, name: str, canary: str, share: float) -> None:
        self.assignments[name] = assignment(name, self.assignments[name].stable, 2, canary, share)
        self.number += 1


@dataclass(frozen=True)
class Rows:
    """VectorRows."""

    found: NDArray[np.bool_]
    vectors: NDArray[np.float32]
    as_of: NDArray[np.int64]
    computed_at: NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """StoredVector."""

    vector: NDArray[np.float32]
    as_of: int
    computed_at: int


def micros(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


@dataclass
class TwinStore:
    """The online store: vectors by version and user, inputs by user."""

    vectors: dict[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    away: bool = False
    lookups: int = 0

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> Rows:
        self.lookups += 1
        if self.away:
            raise Unavailable("the online store does not answer")
        rows = [self.vectors.get((version.id, user)) for user in user_ids]
        found = np.array([row is not None for row in rows], bool)
        blank = np.zeros(version.dimension, np.float32)
        vectors = np.array([blank if row is None else row for row in rows], np.float32)
        return Rows(
            found,
            vectors.reshape(len(rows), version.dimension),
            np.where(found, micros(BACKFILLED), 0).astype(np.int64),
            np.where(found, micros(COMPUTED), 0).astype(np.int64),
        )

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> Row | None:
        rows = self.read_vectors(version, [user_id])
        return Row(rows.vectors[0], int(rows.as_of[0]), int(rows.computed_at[0])) if rows.found[0] else None

    def read_inputs(self, user_ids: Sequence[str]) -> pa.Table:
        blank = {"services": [], "item_ids": [], "event_times": [], "position": 0, "onboarding_items": []}
        rows = [{**blank, **self.inputs.get(user, {}), "user_id": user} for user in user_ids]
        return pa.Table.from_pylist(rows, schema=INPUTS)


INPUTS = pa.schema(
    [
        ("user_id", pa.string()),
        ("services", pa.list_(pa.string())),
        ("item_ids", pa.list_(pa.string())),
        ("event_times", pa.list_(pa.int64())),
        ("position", pa.int64()),
        ("as_of", TIME),
        ("created_time", TIME),
        ("onboarding_items", pa.list_(pa.string())),
        ("country", pa.string()),
        ("taste", pa.list_(pa.float32(), 2)),
        ("unused", pa.null()),
    ]
)


@dataclass
class TwinEncoder:
    """Encodes a user as its number of events and its as-of day; somebody without events as the prior."""

    number: int
    encoded: list[str] = field(default_factory=list)
    nbytes: int = 1000
    items_position: int = 0

    @property
    def prior(self) -> NDArray[np.float32]:
        return np.full(DIMENSION, -self.number, np.float32)

    def encode(self, users: pa.Table, as_of: Any) -> NDArray[np.float32]:
        self.encoded += users.column("user_id").to_pylist()
        vectors = np.tile(self.prior, (users.num_rows, 1))
        for row, (events, moment) in enumerate(zip(users.column("event_times").to_pylist(), as_of, strict=True)):
            if events:
                vectors[row] = [self.number, len(events), moment % 1_000_003] + [0.0] * (DIMENSION - 3)
        return vectors

    def learn(self, items: pa.Table, position: int) -> None:
        self.items_position = position


COLUMNS = FixedColumns({"country": "VARCHAR", "age": "BIGINT"}, {"vector_image": 2})


@dataclass
class TwinInbox:
    """The inbox: what was accepted, a list a transaction; it drops known ids, and knows of one forgotten user."""

    groups: list[list[Arrived]] = field(default_factory=list)
    payloads: dict[str, str] = field(default_factory=dict)
    away: bool = False
    open: threading.Event = field(default_factory=threading.Event)
    """Cleared, it keeps transactions waiting."""

    def __post_init__(self) -> None:
        self.open.set()

    def accept(self, arrived: Sequence[Arrived]) -> list[Outcome]:
        self.open.wait(30)
        if self.away:
            raise Unavailable("the registry does not answer")
        self.groups.append(list(arrived))
        return [self._outcome(one.arriving) for one in arrived]

    def _outcome(self, one: Arriving) -> Outcome:
        if one.user_id == "forgotten":
            return Outcome.FORGOTTEN
        if one.event_id is None or one.event_id not in self.payloads:
            self.payloads[one.event_id or str(len(self.payloads))] = one.payload
            return Outcome.ACCEPTED
        return Outcome.KNOWN if self.payloads[one.event_id] == one.payload else Outcome.TAKEN


ODD_VECTOR = np.array([0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, np.pi, -1.17549435e-38, 16777217], np.float32)


@dataclass
class Twins:
    """Everything of a gateway, in memory."""

    source: TwinSource
    store: TwinStore
    encoders: dict[str, TwinEncoder]
    reader: EmbeddingReader
    pool: PooledReader
    inbox: TwinInbox
    arrivals: Arrivals

    def close(self) -> None:
        self.reader.assignments.stop()
        self.arrivals.close()
        self.pool.close()


def twin_arrivals(inbox: TwinInbox, accept_queue: int = 20_000) -> Arrivals:
    """Real judgement and real groups over the twin; not started."""
    return Arrivals(RecordJudge(COLUMNS), InboxWriter(inbox.accept, accept_queue))


def twins(compute_queue: int = 64, accept_queue: int = 20_000) -> Twins:
    source, store = TwinSource(), TwinStore()
    for id in source.versions:
        sign = 1.0 if id == "autoencoder-1" else -1.0
        store.vectors[id, "ada"] = ODD_VECTOR * np.float32(sign)
        for number in range(50):
            store.vectors[id, f"user-{number}"] = np.full(DIMENSION, sign * number, np.float32)
    store.inputs["bob"] = {"event_times": [micros(BACKFILLED) - 5, micros(BACKFILLED) + 7], "position": 9}
    store.inputs["early"] = {"event_times": [5, 6], "position": 2}
    store.inputs["silent"] = {"created_time": BACKFILLED}
    encoders = {id: TwinEncoder(number) for number, id in enumerate(source.versions, start=1)}
    assignments = Assignments(source, poll_seconds=0.01)
    assignments.refresh()
    reader = EmbeddingReader(store, assignments, EncoderCache(lambda version: encoders[version.id]))
    inbox = TwinInbox()
    arrivals = twin_arrivals(inbox, accept_queue)
    arrivals.start()
    pool = PooledReader(reader, 2, 2, compute_queue)
    return Twins(source, store, encoders, reader, pool, inbox, arrivals)
