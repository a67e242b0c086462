"""The handle of an instance's log: its manifest in the database, its files in the home."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import duckdb
import pyarrow as pa

from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import Duck, connect, enough_memory, scalar
from portrait.feature_repo.log.forgotten import Forgotten, Tombstones
from portrait.feature_repo.log.inbox import Inbox, inbox_users
from portrait.feature_repo.log.manifest import Manifest, SegmentKind, read_manifest
from portrait.feature_repo.log.staging import spill_folder
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict, InvalidInput

TICK = timedelta(microseconds=1)
ATTEMPTS = 20
Answer = TypeVar("Answer")


class EventLog:
    """Events, users and items of one instance, as committed in its manifest."""

    def __init__(self, database: Database, settings: FeatureSettings) -> None:
        self.database = database
        self.settings = settings

    @cached_property
    def inbox(self) -> Inbox:
        """Where records are accepted one by one."""
        return Inbox(self.database, self.forgotten, self.settings.clamp_clocks)

    @cached_property
    def forgotten(self) -> Forgotten:
        """The test for users of whom nothing may be kept."""
        return Forgotten(self.home)

    @property
    def home(self) -> Path:
        """The home directory that the manifest's paths start from."""
        return self.settings.home

    def manifest(self) -> Manifest:
        """The committed segments and positions as of now."""
        return read_manifest(self.database)

    def read(self, work: Callable[[Manifest], Answer], manifest: Callable[[], Manifest] | None = None) -> Answer:
        """The result of `work` on the manifest as committed now, or on the one that `manifest` gives.

        Tried again when files that the manifest names vanished before they were read: a user is being forgotten. Raises
        Conflict after many tries.
        """
        for _ in range(ATTEMPTS):
            seen = manifest() if manifest else self.manifest()
            try:
                return work(seen)
            except (OSError, duckdb.IOException):
                if self.holds(seen):
                    raise
        raise Conflict(f"the log was rewritten {ATTEMPTS} times while it was read: do it again later")

    def holds(self, manifest: Manifest) -> bool:
        """Whether all files that a manifest names are there."""
        return all((self.home / segment.path).exists() for segment in manifest.segments)

    def tombstones(self) -> Tombstones:
        """The tombstones of all users who are forgotten now."""
        with self.database.reading() as session:
            return self.forgotten.tombstones(session)

    def forgotten_among(self, user_ids: Iterable[str]) -> set[str]:
        """Those of the users who are forgotten now."""
        with self.database.reading() as session:
            return self.forgotten.among(session, user_ids)

    def watermark(self) -> datetime | None:
        """Time of the newest event; None without events."""
        return self.manifest().watermark

    def default_as_of(self) -> datetime:
        """The watermark + 1 µs, so that every event counts. Raises InvalidInput when the log is empty."""
        return default_as_of(self.manifest())

    def users_count(self) -> int:
        """How many users the log and the users tables name, at any time."""
        arrived = pa.table({"user_id": pa.array(inbox_users(self.database), pa.string())})

        def count(manifest: Manifest) -> int:
            named = _named_users(self.home, manifest)
            with self.duck() as duck:
                duck.register("arrived", arrived)
                both = f"(SELECT user_id FROM {named} UNION ALL SELECT user_id FROM arrived)"
                return scalar(duck, f"SELECT count(DISTINCT user_id) FROM {both}")

        return self.read(count)

    def user_ids(self, *buckets: int) -> list[str]:
        """Every user of the buckets that the log or a users table names, sorted."""

        def ids(manifest: Manifest) -> list[str]:
            named = _named_users(self.home, manifest, buckets)
            with self.duck() as duck:
                rows = duck.execute(f"SELECT DISTINCT user_id FROM {named} ORDER BY user_id").fetchall()
            return [user for (user,) in rows]

        return self.read(ids)

    def sample_users(self, most: int, seed: int = 0) -> tuple[int, list[str]]:
        """The number of users, and all of them or `most` drawn at random, each with the same chance; sorted.

        The draw depends on seed and ids alone: it takes those with the smallest hashes. Some buckets would be cheaper
        to read, but work that goes bucket by bucket and was broken off would be seen as wholly done or not at all.
        """

        def sample(manifest: Manifest) -> tuple[int, list[str]]:
            with self.duck() as duck:
                named = _named_users(self.home, manifest)
                duck.execute(f"CREATE TABLE known AS SELECT DISTINCT user_id FROM {named}")  # files are read once
                draw = "SELECT user_id FROM known ORDER BY md5(? || user_id), user_id LIMIT ?"
                drawn = duck.execute(draw, [f"{seed}/", most]).fetchall()
                return scalar(duck, "SELECT count(*) FROM known"), sorted(user for (user,) in drawn)

        return self.read(sample)

    @contextmanager
    def duck(self) -> Iterator[Duck]:
        """A DuckDB connection within the memory limit of the settings."""
        memory = self.settings.ingest_memory
        with enough_memory(memory), spill_folder(self.home) as spill, connect(memory, spill) as duck:
            yield duck


def default_as_of(manifest: Manifest) -> datetime:
    """The watermark + 1 µs; of a log without events, the moment of its last commit + 1 µs.

    Raises InvalidInput when the log is empty.
    """
    newest = manifest.watermark or manifest.committed_at
    if newest is None:
        raise InvalidInput("the log is empty: run `portrait ingest --events FILE` first")
    return newest + TICK


def _named_users(home: Path, manifest: Manifest, buckets: Collection[int] | None = None) -> str:
    segments = manifest.segments_of(SegmentKind.EVENTS, buckets) + manifest.segments_of(SegmentKind.USERS, buckets)
    return rows_of(home, segments, {"user_id": "VARCHAR"}, positions=False)
