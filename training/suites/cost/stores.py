"""Both sides in a real online store: five views of hand-made features, or one view of vectors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from feast import FeatureService

from feature_repo.log.event_log import EventLog
from feature_repo.numbers_view import numbers_service, numbers_view, write_numbers
from feature_repo.own_instance import OwnInstance
from feature_repo.settings import FeatureSettings
from feature_repo.views import consumer_service, embedding_files, embedding_view, view_name
from registry.records import Consumer as ConsumerRecord
from training.offline import bucket_file, write_vectors
from training.suites.cost.consumers import Consumer
from training.suites.cost.curated import CuratedFeatures
from training.suites.cost.models import EPOCH, Model
from training.tasks.data import Rows

CURATED, SHARED = "portrait_cost_curated", "portrait_cost_shared"  # projects of Feast


@dataclass(frozen=True)
class Held:
    """A view in the online store, and what putting all users there took."""

    name: str  # consumer, or model
    numbers: int  # that a user has
    users: int
    bytes: int  # by which the store has grown
    compute_seconds: float
    write_seconds: float

    @property
    def bytes_per_user(self) -> float:
        """Bytes a user."""
        return self.bytes / self.users


class CuratedStore:
    """Every consumer's own view and service, in a Feast of the suite's own."""

    def __init__(self, settings: FeatureSettings, folder: Path, users: Rows) -> None:
        self._folder, self._rows = folder, users
        self.instance = OwnInstance(settings, folder / "curated", CURATED, users.ids)

    def fill(self, consumers: Sequence[tuple[Consumer, CuratedFeatures]], as_of: datetime) -> list[Held]:
        """Compute, apply and materialise all of them; what each took."""
        users = self._rows.users
        files = {one.name: self._folder / "features" / f"{one.name}.parquet" for one, _ in consumers}
        computing: dict[str, float] = {}
        for one, features in consumers:
            started = time.perf_counter()
            numbers, ids = features.of(users, self._rows.as_of), users["user_id"].combine_chunks()
            write_numbers(files[one.name], ids, features.names, numbers, as_of, datetime.now(UTC))
            computing[one.name] = time.perf_counter() - started
        views = [numbers_view(one.name, files[one.name], of.names, one.task.description) for one, of in consumers]
        self.instance.begin(views, [numbers_service(view) for view in views])
        found, before = [], self.instance.held()
        for one, features in consumers:
            started = time.perf_counter()
            self.instance.materialise(one.name, as_of)
            seconds, after = time.perf_counter() - started, self.instance.held()
            count = len(features.names)
            found.append(Held(one.name, count, len(users), after - before, computing[one.name], seconds))
            before = after
        return found

    def service(self, consumer: str) -> FeatureService:
        """By which a consumer reads."""
        return self.instance.service(f"{consumer}_model")


class VectorStore:
    """One view of a model's vectors, and a service over it for every consumer."""

    def __init__(self, settings: FeatureSettings, folder: Path, users: Rows, model: Model) -> None:
        self._folder, self._rows, self.model = folder, users, model
        self.version = model.as_version()
        self.instance = OwnInstance(settings, folder / "shared", SHARED, users.ids)

    def fill(self, consumers: Sequence[str], log: EventLog) -> Held:
        """Encode everybody and write the vectors, offline and online, as a backfill does."""
        users, moment = self._rows.users, self._rows.as_of
        view = embedding_view(self.instance.folder, self.version)
        records = [ConsumerRecord(name, "", name, EPOCH) for name in consumers]
        services = [consumer_service(record, self.version, view) for record in records]
        self.instance.begin([view], services)
        before, started = self.instance.held(), time.perf_counter()
        vectors = self.model.encoder(log).encode(users, moment)
        encoded = time.perf_counter()
        position = np.asarray(users["position"].combine_chunks(), dtype=np.int64)
        file = bucket_file(embedding_files(self.instance.folder, self.version.id) / "all", 0)
        file.parent.mkdir(parents=True)
        now = time.time_ns() // 1000
        write_vectors(self.instance.folder, file, users["user_id"], vectors, position, int(moment[0]), now)
        name = view_name(self.version.id)
        self.instance.online.write_vectors(self.instance.config, name, self._rows.ids, vectors, position, moment, now)
        written = time.perf_counter()
        held = self.instance.held() - before
        return Held(self.model.name, vectors.shape[1], len(users), held, encoded - started, written - encoded)

    def service(self, consumer: str) -> FeatureService:
        """By which a consumer reads."""
        return self.instance.service(consumer)
