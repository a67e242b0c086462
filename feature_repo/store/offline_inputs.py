"""Offline inputs of models: histories, profiles and the teams' features, as of a snapshot or of a time for each user.

Training and backfill read those of a snapshot; training sets and tasks read those as of a time for each user.
"""

import hashlib
import json
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.history.point_in_time import read_users_at
from portrait.feature_repo.history.snapshot import file_name
from portrait.feature_repo.history.snapshot_cut import Snapshot
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.store.feature_repo import FeatureRepo

JOIN_USERS = 100_000


def read_inputs_offline(repo: FeatureRepo, snapshot: Snapshot, bucket: int) -> pa.Table:
    """`snapshot.read(bucket)` and a column `<view>__<feature>` for each of the teams' features.

    The teams' features are joined once for all users of the snapshot and kept beside it.
    """
    users = snapshot.read(bucket)
    features = repo.team_views()
    if not features:
        return users
    joined = pq.read_table(_team_snapshot(repo, snapshot) / file_name(bucket), partitioning=None)
    # A user who is just being forgotten may be missing in one of the two.
    at = pc.index_in(users["user_id"], value_set=joined["user_id"])
    for column in joined.column_names[1:]:
        users = users.append_column(joined.schema.field(column), joined.column(column).take(at))
    return users


def read_inputs_at(
    repo: FeatureRepo, buckets: int | Collection[int], asked: pa.Table, *, signing_up: bool = False
) -> Iterator[pa.Table]:
    """One row for each (user_id, as_of) of `asked` and in its order, some rows a table: the input of `Encoder.encode`.

    `asked` has users of one bucket, or of several. The columns are those of `read_inputs_offline`, each row as of its
    own time: see `feature_repo.history.point_in_time`. Teams' features are joined by Feast, from rows before that time.
    """
    named = bool(repo.team_views())
    for users in read_users_at(repo.log, buckets, asked, signing_up=signing_up):
        yield _with_team_features(repo, users) if named else users


def _with_team_features(repo: FeatureRepo, users: pa.Table) -> pa.Table:
    times = users["as_of"].cast(pa.int64()).to_numpy()
    joined = repo.team_features(users["user_id"].to_pylist(), times)
    for column in joined.column_names[1:]:
        users = users.append_column(joined.schema.field(column), joined[column])
    return users


def _team_snapshot(repo: FeatureRepo, snapshot: Snapshot) -> Path:
    """The folder of the teams' features as of the snapshot, made on first use."""
    declared = [(feature.column, str(feature.type), feature.length) for feature in repo.team_views()]
    stamp = hashlib.sha256(json.dumps(declared).encode()).hexdigest()[:12]
    folder = repo.settings.home / "snapshots" / "team" / f"{snapshot.id}-{stamp}"
    if not folder.exists():
        _write(repo, snapshot, folder)
    return folder


def _write(repo: FeatureRepo, snapshot: Snapshot, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(repo.settings.home, "team") as working:
        hidden = working / folder.name
        hidden.mkdir()
        _join(repo, snapshot, hidden)
        with suppress(OSError):  # another worker was faster; the content is the same
            hidden.rename(folder)
    strike_forgotten(repo.log, sorted(folder.glob("*.parquet")))


def _join(repo: FeatureRepo, snapshot: Snapshot, hidden: Path) -> None:
    for buckets in _groups(snapshot):
        users = {bucket: snapshot.read(bucket, columns=["user_id"]).column("user_id") for bucket in buckets}
        joined = repo.team_features([user for column in users.values() for user in column.to_pylist()], snapshot.as_of)
        start = 0
        for bucket, column in users.items():
            pq.write_table(joined.slice(start, len(column)), hidden / file_name(bucket), compression="zstd")
            start += len(column)


def _groups(snapshot: Snapshot) -> Iterator[list[int]]:
    """Buckets in groups of about `JOIN_USERS` users: a join has a fixed cost, and memory is limited."""
    group: list[int] = []
    for bucket in sorted(snapshot.buckets):
        group.append(bucket)
        if sum(snapshot.buckets[member] for member in group) >= JOIN_USERS:
            yield group
            group = []
    if group:
        yield group
