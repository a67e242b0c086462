"""The parts of an instance for a schedule: the real ones, over the database and the store in memory."""

import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import RepoConfig
from numpy.typing import NDArray
from sqlalchemy import insert, select

from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.forgetting.forgetting import Forgetting, _move_mark
from portrait.feature_repo.forgetting.places import InboxRows, OnlineRows, Place, User
from portrait.feature_repo.forgetting.tombstones import findings_to_json
from portrait.feature_repo.history.publish import PublishableRows
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.forgotten import Forgotten
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.rewriting import Rewriter
from portrait.feature_repo.log.tables import InboxRow
from portrait.feature_repo.online.inputs import InputColumns
from portrait.feature_repo.online.online_store import OnlineStore
from portrait.feature_repo.schemas import HISTORY, PROFILE_FIXED, TIME, from_microseconds
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.database.tables import Base, Instance
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.training.encoding.later_items import NewItems
from tests.registry.factories import good_evidence, new_version
from tests.simulation.chance import Chance
from tests.simulation.memory_store import MemoryOnlineStore, StoreImage, StoreServer
from tests.simulation.reference import DIMENSION, LENGTH, LISTS, PROFILE, Known, fold_all, vector_of
from tests.simulation.sql import MemoryServer, SimulatedDatabase
from tests.simulation.steps import Steps
from tests.simulation.wire import Clock, Wire

BUCKETS = 2
CONSUMER = "ranker"
VERSIONS = ("autoencoder-1", "autoencoder-2", "autoencoder-3")
PROFILE_COLUMNS = pa.schema(
    [("created_time", TIME), ("onboarding_items", pa.list_(pa.string())), ("country", pa.string())]
)
PROFILE_SCHEMA = pa.schema([*PROFILE_FIXED, ("country", pa.string())])


@cache
def users(count: int = 4) -> list[str]:
    """Ids of users in the buckets of the simulation, by turns."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        if bucket_of(f"u{number}") == len(found) % BUCKETS:
            found.append(f"u{number}")
        number += 1
    return found


class SimulatedEncoder:
    """The stand-in for a model: a vector tells all that went into it."""

    items_position = 2**60
    nbytes = 0

    def __init__(self, version: str, broken: set[str]) -> None:
        self.version = version
        self.prior = np.zeros(DIMENSION, np.float32)
        self._broken = broken

    def encode(self, inputs: pa.Table, as_of: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [n, DIMENSION]; raises InvalidInput while the version is broken."""
        if self.version in self._broken:
            raise InvalidInput("the model is damaged")
        columns = [inputs.column(name).to_pylist() for name in (*LISTS, "event_ids", *PROFILE[1:])]
        created = inputs.column("created_time").cast(pa.int64()).to_pylist()
        vectors = [
            vector_of(self.version, row[:5], row[5], [made, *row[6:]], int(at))
            for *row, made, at in zip(*columns, created, as_of.tolist(), strict=True)
        ]
        return np.array(vectors, np.float32).reshape(-1, DIMENSION)


class KnownItems(NewItems):
    """No item is new."""

    def bring(self, encoder: Any) -> None:
        """Nothing."""


class SimulatedLog(EventLog):
    """The log with one key of tombstones for all schedules."""

    @cached_property
    def forgotten(self) -> Forgotten:
        return _tombstone_key()


class SimulatedRepo(FeatureRepo):
    """The seam to Feast without Feast's registry; what the batch would publish is folded by the reference."""

    def __init__(self, registry: Registry, log: EventLog, store: OnlineStore) -> None:
        super().__init__(settings(), registry, log)
        self._store = store

    @property
    def online(self) -> OnlineStore:  # type: ignore[override]
        return self._store

    @property
    def config(self) -> RepoConfig:  # type: ignore[override]
        return _config()

    def _input_columns(self) -> InputColumns:
        return _columns()

    def _require_same_space(self, version: EmbeddingVersion) -> None:
        """Feast's tags are not simulated."""

    def _publishable_rows(
        self, buckets: Sequence[int], beyond: Mapping[int, int], only: Sequence[str] | None
    ) -> PublishableRows:
        published, found = self.log.manifest().published, list[Known]()
        columns = (InboxRow.position, InboxRow.kind, InboxRow.user_id, InboxRow.payload)
        up_to, newest = dict[int, int](), 0
        for bucket in buckets:
            with self.log.database.reading() as session:
                statement = select(*columns).where(InboxRow.bucket == bucket, InboxRow.user_id.is_not(None))
                rows = [tuple(row) for row in session.execute(statement)]
            start = beyond.get(bucket, published.get(bucket, 0))
            up_to[bucket] = max([start, *(row[0] for row in rows)])
            folded = list(fold_all(rows).values())
            newest = max([newest, *(one.later for one in folded)])
            found += [one for one in folded if one.newest > start and (only is None or one.user in only)]
        if not found:
            return PublishableRows(HISTORY.empty_table(), PROFILE_SCHEMA.empty_table(), up_to)
        profiles = _profiles([one for one in found if one.profiled], newest)
        return PublishableRows(_histories(found, newest), profiles, up_to)


def _histories(known: Sequence[Known], as_of: int) -> pa.Table:
    order = {"as_of": from_microseconds(as_of), "computed_at": from_microseconds(as_of)}
    rows = [
        {"user_id": one.user, "event_ids": one.event_ids, "position": one.newest, **order}
        | {name: [payload[place] for _, payload in one.events] for name, place in LISTS.items()}
        for one in known
    ]
    return pa.Table.from_pylist(rows, HISTORY)


def _profiles(known: Sequence[Known], as_of: int) -> pa.Table:
    order = {"as_of": from_microseconds(as_of), "computed_at": from_microseconds(as_of)}
    rows = []
    for one in known:
        row = {name: one.profile.get(name) for name in PROFILE} | {"user_id": one.user, "position": one.profiled}
        created = row["created_time"]
        rows.append(row | {"created_time": None if created is None else from_microseconds(created)} | order)
    return pa.Table.from_pylist(rows, PROFILE_SCHEMA)


class SimulatedForgetting(Forgetting):
    """The forgetting of the places that a schedule has."""

    def _places(self, rewriter: Rewriter, broker: Broker | None) -> list[Place]:
        return [InboxRows(self._log.database), OnlineRows(self._repo)]

    @contextmanager
    def _broker(self) -> Iterator[Broker | None]:
        yield None

    def _found(self, user: User, places: Sequence[Place], progress: Progress) -> dict[str, object]:
        return findings_to_json({place.name: place.count(user) for place in places}, [])

    def _purge(self, broker: Broker | None) -> list[str]:
        return [*self._repo.online.purge(self._repo.config), *_move_mark(self._repo)]


@cache
def settings() -> FeatureSettings:
    """The settings of all schedules of this process; the home is empty but for locks, the key and kept states."""
    home = Path(tempfile.mkdtemp(prefix="simulation-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    return FeatureSettings(home=home, history_length=LENGTH)


@cache
def _config() -> RepoConfig:
    return RepoConfig(
        project="simulation",
        provider="local",
        registry={"registry_type": "sql", "path": "sqlite://"},
        online_store={"type": "sqlite", "path": "nowhere"},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
    )


@cache
def _columns() -> InputColumns:
    return InputColumns(PROFILE_COLUMNS, {})


@cache
def _tombstone_key() -> Forgotten:
    return Forgotten(settings().home)


class Template:
    """A registry with three ready versions, the first of which is read, and a store that carries its mark."""

    def __init__(self) -> None:
        server, store = MemoryServer(), StoreServer()
        Base.metadata.create_all(server.engine)
        wire = Wire("template", Chance(0), Steps(), calm=True)
        database = SimulatedDatabase(server, wire, Clock())
        with database.transaction() as session:
            session.execute(
                insert(Instance).values(id=str(uuid.UUID(int=1)), created_at=datetime.now(UTC), generation=0)
            )
        registry = Registry(database).acting("simulation")
        registry.consumers.add(CONSUMER, "nobody", "rank")
        for name in VERSIONS:
            version = registry.versions.register(new_version(f"run-{name}"))
            backfill = registry.backfills.begin(version.id, "snapshot-1", datetime(2020, 1, 1, tzinfo=UTC), 10)
            registry.backfills.bucket_done(backfill.id, 0, 10)
            registry.backfills.finish(backfill.id)
            good_evidence(registry, version)
        registry.promotions.promote(CONSUMER, VERSIONS[0], "at first")
        repo = SimulatedRepo(registry, SimulatedLog(database, settings()), MemoryOnlineStore(store))
        repo.identity.attest()
        self.tables = server.image()
        self.store: StoreImage = store.held.copy()


@cache
def template() -> Template:
    """The template of this process."""
    return Template()
