"""The handle of an instance's log: its manifest in the database, its files in the home."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from feature_repo.log.committed import rows_of
from feature_repo.log.duck import Duck, connect, enough_memory, scalar
from feature_repo.log.forgotten import Forgotten
from feature_repo.log.inbox import Inbox
from feature_repo.log.manifest import Kind, Manifest, Segment, read_manifest
from feature_repo.log.staging import spill_folder
from feature_repo.settings import FeatureSettings
from registry.database import Database
from registry.errors import InvalidInput

TICK = timedelta(microseconds=1)


class EventLog:
    """Events, users and items of one instance, as committed in its manifest."""

    def __init__(self, database: Database, settings: FeatureSettings) -> None:
        self.database = database
        self.settings = settings

    @cached_property
    def inbox(self) -> Inbox:
        """Where records are accepted one by one."""
        return Inbox(self.database, self.forgotten)

    @cached_property
    def forgotten(self) -> Forgotten:
        """Users of whom nothing may be kept."""
        return Forgotten(self.home)

    @property
    def home(self) -> Path:
        """The home directory that the manifest's paths start from."""
        return self.settings.home

    def manifest(self) -> Manifest:
        """The committed segments and positions as of now."""
        return read_manifest(self.database)

    def watermark(self) -> datetime | None:
        """Time of the newest event; None without events."""
        return self.manifest().watermark

    def default_as_of(self) -> datetime:
        """The watermark + 1 µs, so that every event counts. Raises InvalidInput when the log is empty."""
        return default_as_of(self.manifest())

    def users_count(self) -> int:
        """How many users the log and the users tables name, at any time."""
        query = f"SELECT count(DISTINCT user_id) FROM {_named_users(self.home, self._user_segments())}"
        with self.duck() as duck:
            return scalar(duck, query)

    def user_ids(self, bucket: int) -> list[str]:
        """Every user of the bucket whom the log or a users table names, sorted."""
        named = _named_users(self.home, self._user_segments(bucket))
        with self.duck() as duck:
            return [row[0] for row in duck.execute(f"SELECT DISTINCT user_id FROM {named} ORDER BY user_id").fetchall()]

    def sample_users(self, most: int, seed: int = 0) -> tuple[int, list[str]]:
        """How many users there are, and all of them or `most` drawn at random, each with the same chance; sorted.

        The draw depends on seed and ids alone: those with the smallest hashes are it. Not some of the buckets, which
        would be cheaper to read: what is done bucket by bucket and was broken off would be seen wholly or not at all.
        """
        with self.duck() as duck:
            named = _named_users(self.home, self._user_segments())
            duck.execute(f"CREATE TABLE known AS SELECT DISTINCT user_id FROM {named}")  # files are read once
            draw = "SELECT user_id FROM known ORDER BY md5(? || user_id), user_id LIMIT ?"
            drawn = duck.execute(draw, [f"{seed}/", most]).fetchall()
            return scalar(duck, "SELECT count(*) FROM known"), sorted(user for (user,) in drawn)

    @contextmanager
    def duck(self) -> Iterator[Duck]:
        """A DuckDB connection within the memory limit of the settings."""
        memory = self.settings.ingest_memory
        with enough_memory(memory), spill_folder(self.home) as spill, connect(memory, spill) as duck:
            yield duck

    def _user_segments(self, bucket: int | None = None) -> list[Segment]:
        manifest = self.manifest()
        buckets = None if bucket is None else (bucket,)
        return manifest.of(Kind.EVENTS, buckets) + manifest.of(Kind.USERS, buckets)


def default_as_of(manifest: Manifest) -> datetime:
    """The watermark + 1 µs; of a log without events, the moment of its last commit + 1 µs.

    Raises InvalidInput when the log is empty.
    """
    newest = manifest.watermark or manifest.committed_at
    if newest is None:
        raise InvalidInput("the log is empty: run `portrait ingest --events FILE` first")
    return newest + TICK


def _named_users(home: Path, segments: list[Segment]) -> str:
    return rows_of(home, segments, {"user_id": "VARCHAR"}, positions=False)
