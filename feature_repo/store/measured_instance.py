"""A Feast instance that is only measured: its own project, the bytes that it takes, and views of numbers.

Its registry and its SQLite database lie in a folder of its own. On Redis it shares the server, under its own project.
"""

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
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
from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.types import Float32, String
from google.protobuf.json_format import MessageToDict

from portrait.feature_repo.declaration.environment import feast_config
from portrait.feature_repo.entities import user
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.online.codec import user_keys
from portrait.feature_repo.online.inputs import OnlineStore
from portrait.feature_repo.online.redis import PortraitRedisOnlineStore
from portrait.feature_repo.online.rows import CHUNK
from portrait.feature_repo.online.sqlite import PortraitSqliteOnlineStore
from portrait.feature_repo.schemas import TIME, microseconds
from portrait.feature_repo.settings import FeatureSettings

AT_ONCE = 1_000  # keys a round trip

SOURCES = {
    PortraitSqliteOnlineStore: "size of the database file after a checkpoint",
    PortraitRedisOnlineStore: "MEMORY USAGE of every user's hash, all fields sampled",
}
"""By kind of store, the source of the number of bytes."""


def held_bytes(
    store: PortraitSqliteOnlineStore | PortraitRedisOnlineStore, config: RepoConfig, users: Sequence[str]
) -> int:
    """Bytes of a project's rows of these users.

    SQLite: pages of the whole database, tables with their indices, which is the size of its file once the write-ahead
    log is worked in; so the database should hold only this project. Redis: the server's answer for each user's hash.
    """
    if isinstance(store, PortraitRedisOnlineStore):
        return _of_redis(store, config, users)
    with closing(sqlite3.connect(config.online_store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    held: int = pages * size
    return held


def _of_redis(store: PortraitRedisOnlineStore, config: RepoConfig, users: Sequence[str]) -> int:
    client, project = store._get_client(config.online_store), config.project.encode()
    total = 0
    for start in range(0, len(users), AT_ONCE):
        with client.pipeline(transaction=False) as pipeline:
            for key in user_keys(users[start : start + AT_ONCE]):
                pipeline.memory_usage(key + project, samples=0)
            total += sum(held or 0 for held in pipeline.execute())
    return total


Service, View = FeatureService, FeatureView


@dataclass(frozen=True)
class Read:
    """One answer of Feast for one user."""

    values: dict[str, Any]  # by name of the feature
    nbytes: int  # of the JSON that `feast serve` would send


class OwnInstance:
    """A real Feast, applied and materialised, whose traces `remove` deletes."""

    def __init__(self, settings: FeatureSettings, folder: Path, project: str, users: Sequence[str]) -> None:
        """`users` are all that will ever be written."""
        self.folder = folder
        self._users = list(users)
        on_redis = settings.online_store_url.startswith("redis")
        own = {"home": folder, "feast_registry_url": "", **({} if on_redis else {"online_store_url": ""})}
        self._config = feast_config(settings.model_copy(update=own)).model_copy(update={"project": project})

    @property
    def config(self) -> RepoConfig:
        return self._config

    @cached_property
    def online(self) -> OnlineStore:
        store: OnlineStore = get_online_store_from_config(self._config.online_store)
        return store

    @cached_property
    def feast(self) -> FeatureStore:
        return FeatureStore(config=self._config)

    def begin(self, views: Sequence[FeatureView], services: Sequence[FeatureService]) -> Self:
        """Apply views and services to an empty Feast; removes first what an earlier, killed instance has left."""
        self.remove()
        self.folder.mkdir(parents=True)
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
        return held_bytes(self.online, self._config, self._users)

    @property
    def kind(self) -> str:
        """The kind of the online store: SQLite or Redis."""
        return "SQLite" if self._config.online_store.type == "sqlite" else "Redis"

    @property
    def held_how(self) -> str:
        """The source of the number that `held` gives, in words."""
        return next(how for kind, how in SOURCES.items() if isinstance(self.online, kind))

    def service(self, name: str) -> FeatureService:
        return self.feast.get_feature_service(name)

    def read(self, service: FeatureService, user_id: str) -> None:
        """A consumer's request for one user, by Feast alone."""
        self.feast.get_online_features(features=service, entity_rows=[{"user_id": user_id}])

    def answer(self, service: FeatureService, user_id: str) -> Read:
        """The values and the size of the answer to a consumer's request for one user."""
        response = self.feast.get_online_features(features=service, entity_rows=[{"user_id": user_id}])
        sent = MessageToDict(response.proto, preserving_proto_field_name=True)
        values = {name: found[0] for name, found in response.to_dict().items()}
        return Read(values, len(json.dumps(sent, separators=(",", ":")).encode()))

    def remove(self) -> None:
        """Delete its rows and its folder."""
        if self.kind == "Redis":
            for start in range(0, len(self._users), CHUNK):
                self.online.delete_users(self._config, self._users[start : start + CHUNK])
        if "feast" in self.__dict__:
            self.feast.registry.write_engine.dispose()
            del self.feast
        self.__dict__.pop("online", None)  # its connections are to files that are gone
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
