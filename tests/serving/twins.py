"""In-memory twins of the gateway's parts, and a factory for each record."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from portrait.feature_repo.forgetting.tombstones import ForgettingReport, TrainedVersion
from portrait.feature_repo.ingest.event_ids import EventIds
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.ingest.records import RecordJudge, event_of
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.online.codec import VectorRow, VectorRows
from portrait.feature_repo.schemas import EVENTS, TIME, from_microseconds
from portrait.registry.access.audit import Action
from portrait.registry.database.tables import ApiKeyRow
from portrait.registry.errors import InvalidInput, Unavailable
from portrait.registry.progress import Progress
from portrait.registry.records.evidence_facts import ArtifactFacts, VectorFacts
from portrait.registry.records.records import ApiKey, EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.rows import bump, version_row
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.arrivals.inbox_writer import ArrivedRecord, InboxWriter
from portrait.serving.operations.operations import Operations
from portrait.serving.reads.async_reader import PooledReader
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.state.assignment_poller import Assignments, RegistrySource
from portrait.training.inspection.diff import MeasuredPair, VersionDiff, VersionSide
from tests.feature_repo.ingest.fixed_columns import FixedColumns
from tests.registry.factories import new_version, vector_facts
from tests.serving.twin_source import BACKFILLED, DIMENSION, FINGERPRINTS, version

COMPUTED = datetime(2024, 5, 2, 3, 4, 5, 678901, tzinfo=UTC)


def micros(moment: datetime) -> int:
    return round(moment.timestamp()) * 1_000_000 + moment.microsecond


@dataclass
class TwinStore:
    """The online store: vectors by version and user, inputs by user."""

    vectors: dict[tuple[str, str], NDArray[np.float32]] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    away: bool = False
    lookups: int = 0

    def read_vectors(self, version: EmbeddingVersion, user_ids: Sequence[str]) -> VectorRows:
        self.lookups += 1
        if self.away:
            raise Unavailable("the online store does not answer")
        rows = [self.vectors.get((version.id, user)) for user in user_ids]
        found = np.array([row is not None for row in rows], bool)
        blank = np.zeros(version.dimension, np.float32)
        vectors = np.array([blank if row is None else row for row in rows], np.float32)
        return VectorRows(
            found,
            vectors.reshape(len(rows), version.dimension),
            found.astype(np.int64),
            np.where(found, micros(BACKFILLED), 0).astype(np.int64),
            np.where(found, micros(COMPUTED), 0).astype(np.int64),
        )

    def read_vector(self, version: EmbeddingVersion, user_id: str) -> VectorRow | None:
        rows = self.read_vectors(version, [user_id])
        return VectorRow(rows.vectors[0], 1, int(rows.as_of[0]), int(rows.computed_at[0])) if rows.found[0] else None

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

    groups: list[list[ArrivedRecord]] = field(default_factory=list)
    payloads: dict[str, str] = field(default_factory=dict)
    away: bool = False
    open: threading.Event = field(default_factory=threading.Event)
    """Cleared, it keeps transactions waiting."""

    def __post_init__(self) -> None:
        self.open.set()

    def accept(self, arrived: Sequence[ArrivedRecord]) -> list[InboxOutcome]:
        self.open.wait(30)
        if self.away:
            raise Unavailable("the registry does not answer")
        self.groups.append(list(arrived))
        return [self._outcome(one.arriving) for one in arrived]

    def _outcome(self, one: ArrivingRecord) -> InboxOutcome:
        if one.user_id == "forgotten":
            return InboxOutcome.FORGOTTEN
        if one.event_id is None or one.event_id not in self.payloads:
            self.payloads[one.event_id or str(len(self.payloads))] = one.payload
            return InboxOutcome.ACCEPTED
        return InboxOutcome.KNOWN if self.payloads[one.event_id] == one.payload else InboxOutcome.TAKEN


ODD_VECTOR = np.array([0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, np.pi, -1.17549435e-38, 16777217], np.float32)


def keep_keys(registry: Registry, *keys: ApiKey) -> None:
    """Have the registry hold these keys as they are, whose texts are known."""
    with registry.database.transaction() as session:
        for one in keys:
            row = ApiKeyRow(id=one.id, name=one.name, sha256=one.sha256, grants=list(map(str, one.grants)))
            row.created_at, row.created_by, row.revoked_at = one.created_at, one.created_by, one.revoked_at
            session.merge(row)
        bump(session, projected=False)


def populate(registry: Registry) -> None:
    """Two backfilled versions, a consumer on each, and one without any."""
    registry = registry.acting("ann")
    for id, fingerprint in FINGERPRINTS.items():
        fields = {"fingerprint": fingerprint, "data_to": version(id).data_to, "code_revision": "r1"}
        registry.versions.register(new_version(f"run-{id}", dimension=DIMENSION, **fields))
        backfill = registry.backfills.begin(id, "s1", BACKFILLED, 10)
        registry.backfills.bucket_done(backfill.id, 0, 10)
        registry.backfills.finish(backfill.id)
    for name in ("ranker", "search", "fresh"):
        registry.consumers.add(name, "team", "ranking")
    operations = TwinOperations(registry)
    operations.promote("ann", "ranker", "autoencoder-1", "first")
    operations.promote("ann", "search", "autoencoder-2", "first")


class TwinOperations(Operations):
    """The real operations, but for what needs Feast or a model: evidence, differences, and what deletes vectors."""

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry, None, apply=lambda: None)  # type: ignore[arg-type]
        self.found: dict[str, VectorFacts] = {}  # of a version's vectors, where not all is well

    def _inspect(self, version: str, registry: Registry, progress: Progress | None) -> None:
        artifact = ArtifactFacts(True, registry.versions.get(version).fingerprint)
        registry.evidence.record(version, artifact, self.found.get(version, vector_facts()))

    def _remove(self, registry: Registry, version: str, generation: int, progress: Progress) -> None:
        registry.retirements.finish(version)

    def diff(self, version: str, other: str, progress: Progress | None = None) -> VersionDiff:
        a, b = (
            VersionSide(known.id, known.fingerprint, known.dimension, 1.0, known.metrics, 2.0)
            for known in map(self.registry.versions.get, (version, other))
        )
        pair = MeasuredPair("listens", "auc", "2024-05", 0.7, None)
        return VersionDiff(a, b, (pair,), 52, 52, 51, 10, 0.5, None, 0.75, 0.25)

    def merge(self, actor: str, anonymous: str, known: str, progress: Progress | None = None) -> ForgettingReport:
        return self.forget(actor, anonymous)

    def delete_event(self, actor: str, user: str, event: str) -> str:
        return f"event {hashlib.sha256(event.encode()).hexdigest()[:16]}"

    def correct_event(self, actor: str, user: str, event: str, changes: Mapping[str, object]) -> dict[str, object]:
        record = {"user_id": user, "item_id": "song", "event_time": "2024-05-01", "event_id": event, **changes}
        try:
            now = orjson.loads(event_of(record, EventIds(), micros(BACKFILLED)).payload)
        except UnfitRecord as unfit:
            raise InvalidInput(str(unfit)) from unfit
        return dict(zip(EVENTS.names, now, strict=True)) | {"event_time": from_microseconds(now[2])}

    def forget(self, actor: str, user: str, progress: Progress | None = None) -> ForgettingReport:
        subject, now = f"user {hashlib.sha256(user.encode()).hexdigest()[:16]}", datetime.now(UTC)
        with self.registry.acting(actor).audit.change(Action.USER_FORGET, subject):
            trained = (TrainedVersion("autoencoder-1", "ready"),)
            return ForgettingReport(subject, now, now, {"events": 3}, trained, 0, (), ("backups",))


@dataclass
class Twins:
    """A gateway over a registry of its own; its store, encoders and inbox are in memory."""

    registry: Registry
    operations: TwinOperations
    store: TwinStore
    encoders: dict[str, TwinEncoder]
    reader: EmbeddingReader
    pool: PooledReader
    inbox: TwinInbox
    arrivals: Arrivals

    def promote(self, consumer: str, version: str, canary_share: float | None = None) -> None:
        """Have a consumer, or a share of its users, read a version, and the gateway know it."""
        self.operations.promote("ann", consumer, version, canary_share=canary_share)
        self.reader.assignments.refresh()

    def set_version(self, id: str, **fields: Any) -> None:
        """Have the row of a version say what no registration of today would; the gateway knows with its next look."""
        with self.registry.database.transaction() as session:
            row = version_row(session, id, lock=True)
            for name, value in fields.items():
                setattr(row, name, value)
            bump(session)

    def close(self) -> None:
        self.reader.assignments.stop()
        self.arrivals.close()
        self.pool.close()
        self.registry.close()


def twin_arrivals(inbox: TwinInbox, accept_queue: int = 20_000) -> Arrivals:
    """Real judgement and real groups over the twin; not started."""
    return Arrivals(RecordJudge(COLUMNS), InboxWriter(inbox.accept, accept_queue))


def twins(registry_file: Path, compute_queue: int = 64, accept_queue: int = 20_000) -> Twins:
    """Everything of a gateway; the file is a registry as `populate` leaves it."""
    registry, store = Registry.open(f"sqlite:///{registry_file}"), TwinStore()
    for id in FINGERPRINTS:
        sign = 1.0 if id == "autoencoder-1" else -1.0
        store.vectors[id, "ada"] = ODD_VECTOR * np.float32(sign)
        for number in range(50):
            store.vectors[id, f"user-{number}"] = np.full(DIMENSION, sign * number, np.float32)
    store.inputs["bob"] = {"event_times": [micros(BACKFILLED) - 5, micros(BACKFILLED) + 7], "position": 9}
    store.inputs["early"] = {"event_times": [5, 6], "position": 2}
    store.inputs["silent"] = {"created_time": BACKFILLED}
    encoders = {id: TwinEncoder(number) for number, id in enumerate(FINGERPRINTS, start=1)}
    assignments = Assignments(RegistrySource(registry), poll_seconds=0.01)
    assignments.refresh()
    reader = EmbeddingReader(store, assignments, EncoderCache(lambda version: encoders[version.id]))
    inbox = TwinInbox()
    arrivals = twin_arrivals(inbox, accept_queue)
    arrivals.start()
    pool = PooledReader(reader, 2, 2, compute_queue)
    return Twins(registry, TwinOperations(registry), store, encoders, reader, pool, inbox, arrivals)
