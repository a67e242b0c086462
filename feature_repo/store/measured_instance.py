"""A Feast instance that is only measured: its own project, the bytes that it takes, and views of numbers.

Its registry and its SQLite database lie in a folder of its own. On Redis it shares the server, under its own project.
"""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureService, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.data_format import ParquetFormat
from feast.types import Float32, String
from filelock import BaseFileLock, FileLock
from google.protobuf.json_format import MessageToDict

from portrait.feature_repo.declaration.environment import feast_config
from portrait.feature_repo.entities import user
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.online.codec import user_keys
from portrait.feature_repo.online.online_store import OnlineStore, open_online_store
from portrait.feature_repo.online.rows import CHUNK
from portrait.feature_repo.schemas import TIME, microseconds
from portrait.feature_repo.settings import FeatureSettings

Service, View = FeatureService, FeatureView

CURATED, SHARED = "portrait_cost_curated", "portrait_cost_shared"
"""Projects of Feast that are only measured."""


def measured_projects(config: RepoConfig, online: OnlineStore) -> list[RepoConfig]:
    """The configurations of those projects whose rows lie on an instance's server; in database files they have none."""
    return [] if online.has_tables else [config.model_copy(update={"project": name}) for name in (CURATED, SHARED)]


@dataclass(frozen=True)
class FeastAnswer:
    """One answer of Feast for one user."""

    values: dict[str, Any]  # by name of the feature
    nbytes: int  # of the JSON that `feast serve` would send


class MeasuredInstance:
    """A real Feast, applied and materialised, whose traces `remove` deletes."""

    def __init__(self, settings: FeatureSettings, folder: Path, project: str, users: Sequence[str]) -> None:
        """`users` are all that will ever be written."""
        self.folder = folder
        self._users = list(users)
        self._lock: BaseFileLock | None = None
        own = settings.model_copy(update={"home": folder, "feast_registry_url": ""})
        config = feast_config(own)
        if open_online_store(config).has_tables:  # then in a database file of its own
            config = feast_config(own.model_copy(update={"online_store_url": ""}))
        self._config = config.model_copy(update={"project": project})

    @property
    def config(self) -> RepoConfig:
        return self._config

    @cached_property
    def online(self) -> OnlineStore:
        """The online store."""
        return open_online_store(self._config)

    @cached_property
    def feast(self) -> FeatureStore:
        return FeatureStore(config=self._config)

    def begin(self, views: Sequence[FeatureView], services: Sequence[FeatureService]) -> Self:
        """Apply views and services to an empty Feast; removes first what an earlier, killed instance has left.

        That may be rows of users whom this one does not have.
        """
        if not self.online.has_tables:
            self.online.clear(self._config, {})
        self.remove()
        self.folder.mkdir(parents=True)
        self._lock = FileLock(self.folder / "lock")  # a forgetting removes what a killed measurement has left
        self._lock.acquire()
        with _quiet():
            self.feast.apply([user, *views, *services])
        return self

    def materialise(self, view: str, as_of: datetime) -> None:
        """Put every user's newest row up to a time online, as a job of a team does."""
        with _quiet():
            self.feast.materialize(datetime(1970, 1, 2, tzinfo=UTC), as_of + timedelta(seconds=1), [view])

    def copy(self, online: OnlineStore, config: RepoConfig, view: FeatureView) -> int:
        """Copy the users' rows of a view from another project's online store; returns how many.

        The view must be applied here.
        """
        features, copied = [feature.name for feature in view.features], 0
        for start in range(0, len(self._users), CHUNK):
            keys = user_keys(self._users[start : start + CHUNK])
            rows = online.read_rows(config, view.name, keys, features)
            copied += self.online.write_rows(self._config, view.name, (row for row in rows if row is not None))
        return copied

    def held(self) -> int:
        """Bytes that the online store holds of this project."""
        return self.online.held_bytes(self._config, self._users)

    def service(self, name: str) -> FeatureService:
        return self.feast.get_feature_service(name)

    def read(self, service: FeatureService, user_id: str) -> None:
        """A consumer's request for one user, by Feast alone."""
        self.feast.get_online_features(features=service, entity_rows=[{"user_id": user_id}])

    def answer(self, service: FeatureService, user_id: str) -> FeastAnswer:
        """The values and the size of the answer to a consumer's request for one user."""
        response = self.feast.get_online_features(features=service, entity_rows=[{"user_id": user_id}])
        sent = MessageToDict(response.proto, preserving_proto_field_name=True)
        values = {name: found[0] for name, found in response.to_dict().items()}
        return FeastAnswer(values, len(json.dumps(sent, separators=(",", ":")).encode()))

    def remove(self) -> None:
        """Delete its rows and its folder."""
        if not self.online.has_tables:  # else they go with the folder
            for start in range(0, len(self._users), CHUNK):
                self.online.delete_users(self._config, self._users[start : start + CHUNK])
        if "feast" in self.__dict__:
            self.feast.registry.write_engine.dispose()
            del self.feast
        self.__dict__.pop("online", None)  # its connections are to files that are gone
        if self._lock is not None:
            self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    # Feast prints to both outputs while it works; progress is drawn again once it is done.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def write_numbers(
    path: Path, user_ids: pa.Array, names: Sequence[str], numbers: np.ndarray, as_of: datetime, computed_at: datetime
) -> None:
    """Features float32 [n, names] of users as a batch source, visible whole or not."""
    columns: dict[str, pa.Array] = {"user_id": user_ids}
    columns |= {name: pa.array(np.ascontiguousarray(numbers[:, place])) for place, name in enumerate(names)}
    for name, moment in (("as_of", as_of), ("computed_at", computed_at)):
        columns[name] = pa.array(np.full(len(user_ids), microseconds(moment))).cast(TIME)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacement(path, durable=False) as scratch:
        pq.write_table(pa.table(columns), scratch, compression="zstd")


def numbers_view(name: str, path: Path, names: Sequence[str], description: str) -> FeatureView:
    """The view over a file of `write_numbers`."""
    source = FileSource(
        name=f"{name}_file",
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="computed_at",
    )
    fields = [Field(name="user_id", dtype=String), *(Field(name=feature, dtype=Float32) for feature in names)]
    return FeatureView(name=name, entities=[user], schema=fields, source=source, description=description)


def numbers_service(view: FeatureView) -> FeatureService:
    """The service that the team's model reads: the whole view."""
    return FeatureService(name=f"{view.name}_model", features=[view], description=view.description)
