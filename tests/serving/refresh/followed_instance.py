"""An instance whose vectors follow a stream, and the comparison of its stores with the batch."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.online.redis import PortraitRedisOnlineStore
from portrait.feature_repo.online.sqlite import FENCES, MARKS
from portrait.feature_repo.schemas import HISTORY, ORDER, TIME, from_microseconds, microseconds
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.serving.refresh.build import build_shard
from portrait.serving.refresh.shard import Shard
from portrait.training.backfill.backfill import backfill
from portrait.training.encoding.encoder import Encoder, load_encoder
from tests.instances import TINY, TINY_CLUE, with_generated_users
from tests.registry.factories import good_evidence

USERS = 60
LENGTH = 5  # of a history, by service: events are pushed out soon
MODELS = {"autoencoder": TINY, "clue": TINY_CLUE}

START = microseconds(datetime(2025, 1, 1, tzinfo=UTC))  # of the stream: when the generated events end
HOUR = 3_600_000_000
ITEMS = [*(f"music-{number:04d}" for number in range(6)), *(f"video-{number:04d}" for number in range(480, 486))]
BOTH = ("autoencoder-1", "clue-1")
names = (f"u{n}" for n in itertools.count())
"""Users of whom nobody has heard before: so one instance serves all tests."""
LISTS = [field.name for field in HISTORY if pa.types.is_list(field.type)]


def make(settings: Settings, folder: Path) -> None:
    """Generated users, and a version of each family; the first is backfilled and read by `ranker`."""
    with with_generated_users(settings, folder, USERS) as portrait:
        for family, overrides in MODELS.items():
            train_version(portrait, family, overrides=overrides)
        portrait.registry.consumers.add("ranker", "web", "rank the home page")
        embed(portrait, "autoencoder-1")
        portrait.registry.promotions.promote("ranker", "autoencoder-1", "test")


def embed(portrait: Portrait, version: str) -> None:
    """Backfill a version, and have the gates think well of it."""
    backfill(portrait.repo, version, portrait.settings)
    good_evidence(portrait.registry, portrait.registry.versions.get(version), USERS)


def event(user: str, item: str, time: int, event_id: str, action: str = "play", weight: float = 1.0) -> ArrivingRecord:
    """An event at microseconds after START, in the service that the item's name begins with."""
    payload = [user, item, START + time, item.partition("-")[0], action, weight, event_id]
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), orjson.dumps(payload).decode(), user, event_id)


def profile(user: str, **columns: Any) -> ArrivingRecord:
    """A sign-up or a change of the profile; times are microseconds."""
    payload = orjson.dumps({"user_id": user, **columns}).decode()
    return ArrivingRecord(SegmentKind.USERS, bucket_of(user), payload, user)


@dataclass
class Followed:
    """An instance and its shard, which the test drives in its own thread."""

    portrait: Portrait
    name: str = "shard"
    shards: list[Shard] = field(default_factory=list)

    @property
    def shard(self) -> Shard:
        """The shard of now, begun when there is none."""
        return self.shards[-1] if self.shards else self.begin()

    @cached_property
    def encoders(self) -> Mapping[str, Encoder]:
        """The models as the batch loads them."""
        versions = self.portrait.registry.versions.list()
        return {v.id: load_encoder(self.portrait.settings.home / v.artifact, v.fingerprint) for v in versions}

    def begin(self, keep_models: bool = True) -> Shard:
        """A shard that knows nothing of an earlier one, as after a kill: it goes on from what was noted.

        Only the models it takes over from that one, as loading them takes the longest.
        """
        shard = build_shard(self.portrait.settings, self.name)
        if self.shards and keep_models:
            shard.refresher.encoders = self.shards[-1].refresher.encoders
        shard.held.renew()
        self.shards.append(shard)
        return shard

    def close(self) -> None:
        """Close the shards' connections."""
        for shard in self.shards:
            shard.close()

    def leave(self) -> None:
        """End the shard as one that is stopped."""
        self.shard.held.give_back()
        self.portrait.registry.replicas.gone(self.name)

    def accept(self, records: Sequence[ArrivingRecord]) -> None:
        """Accept records in one transaction; known ones may be among them."""
        assert set(self.portrait.log.inbox.accept(records)) <= {InboxOutcome.ACCEPTED, InboxOutcome.KNOWN}

    def take_in(self, records: Iterable[ArrivingRecord], folder: Path, publish: bool = True) -> None:
        """The same records by file."""
        rows = [(record.kind, orjson.loads(record.payload)) for record in records]
        events = [row for kind, row in rows if kind == SegmentKind.EVENTS]
        users = [row for kind, row in rows if kind == SegmentKind.USERS]
        folder.mkdir(exist_ok=True)
        files: dict[str, Path] = {}
        if events:
            names = ("user_id", "item_id", "event_time", "service", "action", "weight", "event_id")
            table = pa.table(dict(zip(names, map(list, zip(*events, strict=True)), strict=True)))
            files["events"] = _write(table, folder / "events.parquet", "event_time")
        if users:
            files["users"] = _write(pa.Table.from_pylist(users), folder / "users.parquet", "created_time")
        ingest(self.portrait.log, **files, now=datetime.now(UTC))
        if publish:
            self.portrait.repo.publish()

    def drain(self) -> None:
        """Work until there is nothing left to do, also at the versions that are refreshed in batches."""
        self.shard.held.renew()
        for _ in range(1000):
            busy = self.shard.once()
            _, applied, lazily = self.shard.held.work_in_batches()
            if not busy and applied == lazily:
                break
        else:
            raise AssertionError("the shard never comes to an end")
        self.shard.held.note()

    def work(self) -> None:
        """Work until nothing is left to do at the versions that are refreshed eagerly."""
        for _ in range(1000):
            if not self.shard.once():
                return
        raise AssertionError("the shard never comes to an end")

    def look_at_the_registry(self) -> None:
        """Let the next round begin with what the registry says now."""
        self.shard._next.pop("poll", None)

    def vectors(self, version: str, users: Sequence[str]) -> Any:
        """The stored vectors of a version."""
        return self.portrait.repo.read_vectors(self.portrait.registry.versions.get(version), users)

    def told(self) -> dict[str, Any]:
        """What the log's tables say."""
        with self.portrait.database.reading() as session:
            tables = ("leases", "buckets", "inbox", "segments", "embedding_versions", "backfills")
            return {table: session.execute(text(f"SELECT * FROM {table} ORDER BY 1, 2")).all() for table in tables}

    def stored(self) -> dict[str, Any]:
        """All that the online store holds, byte by byte, but for the fences."""
        online, config = self.portrait.repo.online, self.portrait.repo.config
        if isinstance(online, PortraitRedisOnlineStore):
            client = online._get_client(config.online_store)
            return {str(key): client.hgetall(key) for key in client.scan_iter() if not key.endswith(b":fences")}
        connection = online._get_conn(config)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1, 2').fetchall()
                for name in tables if name not in (FENCES, MARKS)}  # fmt: skip

    def require_the_batch_result(self, versions: Sequence[str], users: Sequence[str] = (), exact: bool = True) -> None:
        """Histories, profiles and vectors of users are those of a snapshot cut now; by default of all users.

        Positions are the snapshot's, except where a user's last row did not stay in the history: then they may be that
        of the last one which did. With `exact` off they may also be those of rows which the log has dropped.
        """
        snapshot = cut_snapshot(self.portrait.log, from_microseconds(START + 30 * 24 * HOUR))
        wanted, seen = set(users), 0
        for bucket in {bucket_of(user) for user in users} or snapshot.buckets:
            batch = read_inputs_offline(self.portrait.repo, snapshot, bucket)
            if wanted:
                batch = batch.filter(pa.array([user in wanted for user in batch["user_id"].to_pylist()]))
            seen += len(batch)
            self._compare(batch, bucket, versions, exact)
        assert not wanted or seen == len(wanted)

    def _compare(self, batch: pa.Table, bucket: int, versions: Sequence[str], exact: bool) -> None:
        users = batch["user_id"].to_pylist()
        online = self.portrait.repo.read_inputs(users)
        for name in set(batch.column_names) - {"created_time", *(name for name, _ in ORDER)}:
            assert online[name].to_pylist() == batch[name].to_pylist(), name
        assert _seconds(online["created_time"]) == _seconds(batch["created_time"])
        position = online["position"].to_numpy()
        least, most = self._stayed(batch, bucket), batch["position"].to_numpy()
        assert (least <= position).all()
        assert (position <= most).all() or not exact
        for version in versions:
            stored = self.vectors(version, users)
            assert stored.found.all()
            assert (stored.position == position).all() or (not exact and (stored.position >= position).all())
            expected = self.encoders[version].encode(batch, stored.as_of)
            assert np.abs(stored.vectors - expected).max() < 1e-5, version

    def _stayed(self, batch: pa.Table, bucket: int) -> Any:
        """Greatest position of each user's rows that are in the history or the profile, int64 [n]."""
        manifest, log = self.portrait.log.manifest(), self.portrait.log
        types = {"user_id": "VARCHAR", "event_id": "VARCHAR"}
        with log.duck() as duck:
            events = rows_of(log.home, manifest.segments_of(SegmentKind.EVENTS, (bucket,)), types)
            of_event = dict(duck.execute(f"SELECT event_id, position FROM {events}").fetchall())
            changes = rows_of(log.home, manifest.segments_of(SegmentKind.USERS, (bucket,)), {"user_id": "VARCHAR"})
            of_user = dict(duck.execute(f"SELECT user_id, max(position) FROM {changes} GROUP BY ALL").fetchall())
        rows = zip(batch["user_id"].to_pylist(), batch["event_ids"].to_pylist(), strict=True)
        return np.array([max([of_user.get(user, 0), *(of_event[id] for id in ids)]) for user, ids in rows])


def _write(table: pa.Table, path: Path, time: str) -> Path:
    if time in table.column_names:
        column = table[time].cast(pa.int64()).cast(TIME)
        table = table.set_column(table.column_names.index(time), time, column)
    pq.write_table(table, path)
    return path


def _seconds(times: pa.ChunkedArray) -> list[int | None]:
    plain = times.cast(TIME).cast(pa.int64()).to_pylist()
    return [None if time is None else time // 1_000_000 for time in plain]


@contextmanager
def running(followed: Followed) -> Iterator[Shard]:
    """A shard in threads of its own."""
    shard = build_shard(followed.portrait.settings, "running")
    shard.start()
    try:
        yield shard
    finally:
        shard.stop()
