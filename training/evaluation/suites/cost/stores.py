"""Stores of both sides in a real online store: five views of hand-made features, or one view of vectors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from portrait.feature_repo.declaration.views import (
    consumer_service,
    embedding_files,
    embedding_view,
    user_history,
    user_profile,
    view_name,
)
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import from_microseconds
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.measured_instance import (
    CURATED,
    SHARED,
    MeasuredInstance,
    Service,
    View,
    numbers_service,
    numbers_view,
    write_numbers,
)
from portrait.registry.errors import Unavailable
from portrait.registry.records.records import Consumer as ConsumerRecord
from portrait.training.backfill.vectors_at_rest import bucket_file, write_vectors
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.evaluation.suites.cost.blocks import CuratedFeatures
from portrait.training.evaluation.suites.cost.consumers import CostConsumer
from portrait.training.evaluation.suites.cost.models import EPOCH, MeasuredModel
from portrait.training.evaluation.tasks.task_data import Rows

INPUTS = "raw inputs"


@dataclass(frozen=True)
class Held:
    """A view in the online store, with the bytes and seconds that all users took."""

    name: str  # consumer, or model
    numbers: int  # that a user has
    users: int
    bytes: int  # by which the store has grown
    compute_seconds: float
    write_seconds: float

    @property
    def bytes_per_user(self) -> float:
        return self.bytes / self.users


class CuratedStore:
    """Every consumer's own view and service, in a Feast of the suite's own."""

    def __init__(self, settings: FeatureSettings, folder: Path, users: Rows) -> None:
        self._rows = users
        self.instance = MeasuredInstance(settings, folder / "curated", CURATED, users.ids)

    def fill(self, consumers: Sequence[tuple[CostConsumer, CuratedFeatures]], as_of: datetime) -> list[Held]:
        """Apply, compute and materialise all features; returns what those of each consumer took."""
        users, ids = self._rows.users, self._rows.users["user_id"].combine_chunks()
        files = {one.name: self.instance.folder / "features" / f"{one.name}.parquet" for one, _ in consumers}
        views = [numbers_view(one.name, files[one.name], of.names, one.task.description) for one, of in consumers]
        self.instance.begin(views, [numbers_service(view) for view in views])
        computing: dict[str, float] = {}
        for one, features in consumers:
            started = time.perf_counter()
            numbers = features.matrix(users, self._rows.as_of)
            write_numbers(files[one.name], ids, features.names, numbers, as_of, datetime.now(UTC))
            computing[one.name] = time.perf_counter() - started
        found, before = [], self.instance.held()
        for one, features in consumers:
            started = time.perf_counter()
            self.instance.materialise(one.name, as_of)
            seconds, after = time.perf_counter() - started, self.instance.held()
            count = len(features.names)
            found.append(Held(one.name, count, len(users), after - before, computing[one.name], seconds))
            before = after
        return found

    def service(self, consumer: str) -> Service:
        """The Feast service that a consumer reads."""
        return self.instance.service(f"{consumer}_model")


class VectorStore:
    """One view of a model's vectors, and a service over it for every consumer; beside it, the inputs of a refresh."""

    def __init__(
        self, repo: FeatureRepo, folder: Path, users: Rows, model: MeasuredModel, consumers: Sequence[str]
    ) -> None:
        self._repo, self._rows, self.model, self.consumers = repo, users, model, tuple(consumers)
        self.version = model.as_version()
        self.instance = MeasuredInstance(repo.settings, folder / "shared", SHARED, users.ids)

    def fill_by_feast(self) -> float:
        """Have Feast materialise the vectors, as it does features; returns the seconds of that alone."""
        self._begin()
        self._write_files(self._vectors(), time.time_ns() // 1000)
        started = time.perf_counter()
        self.instance.materialise(view_name(self.version.id), from_microseconds(int(self._rows.as_of[0])))
        return time.perf_counter() - started

    def fill(self) -> Held:
        """Encode everybody and write the vectors, offline and online, as a backfill does."""
        self._begin()
        before, started = self.instance.held(), time.perf_counter()
        vectors = self._vectors()
        encoded, now = time.perf_counter(), time.time_ns() // 1000
        self._write_files(vectors, now)
        moment, view = self._rows.as_of, view_name(self.version.id)
        online, config = self.instance.online, self.instance.config
        online.write_vectors(config, view, self._rows.ids, vectors, self._positions, moment, now)
        seconds = time.perf_counter() - encoded
        held = self.instance.held() - before
        return Held(self.model.name, vectors.shape[1], len(vectors), held, encoded - started, seconds)

    def add_inputs(self) -> Held:
        """Beside the vectors: raw history and profile of everybody, as the user's own instance has them online."""
        views = self._inputs()
        before, started = self.instance.held(), time.perf_counter()
        copied = [self.instance.copy(self._repo.online, self._repo.config, view) for view in views]
        if not copied[0]:
            raise Unavailable(
                "the online store has no histories of these users: they are put there as events are ingested"
            )
        seconds = time.perf_counter() - started
        columns = 1 + len(views[1].features)  # a history counts as one
        return Held(INPUTS, columns, len(self._rows), self.instance.held() - before, 0.0, seconds)

    def service(self, consumer: str) -> Service:
        """The Feast service that a consumer reads."""
        return self.instance.service(consumer)

    @property
    def _positions(self) -> Int64:
        return np.asarray(self._rows.users["position"].combine_chunks(), dtype=np.int64)

    def _begin(self) -> None:
        view = embedding_view(self.instance.folder, self.version)
        records = [ConsumerRecord(name, "", name, EPOCH) for name in self.consumers]
        services = [consumer_service(record, self.version, view) for record in records]
        self.instance.begin([view, *self._inputs()], services)

    def _inputs(self) -> tuple[View, View]:
        folder = self.instance.folder
        return user_history(folder), user_profile(folder, profile_schema(self._repo.log))

    def _vectors(self) -> Float32:
        return self.model.encoder(self._repo.log).encode(self._rows.users, self._rows.as_of)

    def _write_files(self, vectors: Float32, now: int) -> None:
        file = bucket_file(embedding_files(self.instance.folder, self.version.id) / "all", 0)
        users, as_of = self._rows.users["user_id"], int(self._rows.as_of[0])
        write_vectors(self.instance.folder, file, users, vectors, self._positions, as_of, now)
