"""Offline inputs of models: histories, profiles and the teams' features, as of a snapshot or of a time for each user.

Training and backfill read those of a snapshot; training sets and tasks read those as of a time for each user.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.declaration.team_sources import TeamSource
from portrait.feature_repo.history.point_in_time import read_users_at
from portrait.feature_repo.history.snapshot import file_name
from portrait.feature_repo.history.snapshot_cut import Snapshot
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.staging import working_folder
from portrait.feature_repo.store.feature_repo import FeatureRepo

JOIN_USERS = 100_000


@dataclass(frozen=True)
class TeamJoins:
    """The teams' features as of a snapshot, each view's in a folder beside it; they stay when a team's files change."""

    folders: tuple[Path, ...] = ()

    @property
    def stamp(self) -> tuple[str, ...]:
        """Names that are equal where views and content of their files are."""
        return tuple(folder.name for folder in self.folders)


def join_teams(repo: FeatureRepo, snapshot: Snapshot, fields: Collection[str] | None = None) -> TeamJoins:
    """Join the teams' views that have some of these fields (all by default) for the users of a snapshot, unless done.

    A view is joined again when its files have changed. Raises InvalidInput, with the view and its file, when these
    cannot be joined.
    """
    return TeamJoins(tuple(_join_view(repo, snapshot, source) for source in repo.team_sources(fields)))


def read_inputs_offline(repo: FeatureRepo, snapshot: Snapshot, bucket: int, joins: TeamJoins | None = None) -> pa.Table:
    """`snapshot.read(bucket)` and a column `<view>__<feature>` for each of the teams' features in `joins`.

    By default those of all views, which are then joined if they were not before.
    """
    users = snapshot.read(bucket)
    for folder in (join_teams(repo, snapshot) if joins is None else joins).folders:
        joined = pq.read_table(folder / file_name(bucket), partitioning=None)
        # A user who is just being forgotten may be missing in one of the two.
        at = pc.index_in(users["user_id"], value_set=joined["user_id"])
        for column in joined.column_names[1:]:
            users = users.append_column(joined.schema.field(column), joined.column(column).take(at))
    return users


def read_inputs_at(
    repo: FeatureRepo,
    buckets: int | Collection[int],
    asked: pa.Table,
    *,
    signing_up: bool = False,
    fields: Collection[str] | None = None,
) -> Iterator[pa.Table]:
    """One row for each (user_id, as_of) of `asked` and in its order, some rows a table: the input of `Encoder.encode`.

    `asked` has users of one bucket, or of several. The columns are those of `read_inputs_offline`, each row as of its
    own time: see `feature_repo.history.point_in_time`. Teams' features are joined by Feast, from rows before that
    time: those of views with some of these `fields`, by default all.
    """
    sources = repo.team_sources(fields)
    for source in sources:
        source.require_readable()
    for users in read_users_at(repo.log, buckets, asked, signing_up=signing_up):
        yield _with_team_features(repo, sources, users)


def _with_team_features(repo: FeatureRepo, sources: Sequence[TeamSource], users: pa.Table) -> pa.Table:
    ids, times = users["user_id"].to_pylist(), users["as_of"].cast(pa.int64()).to_numpy()
    for source in sources:
        joined = repo.join_team(source, ids, times)
        for column in joined.column_names[1:]:
            users = users.append_column(joined.schema.field(column), joined[column])
    return users


def _join_view(repo: FeatureRepo, snapshot: Snapshot, source: TeamSource) -> Path:
    """The folder of a view's features as of the snapshot, made on first use."""
    while True:
        stamp = source.stamp
        named = hashlib.sha256(stamp.encode()).hexdigest()[:12]
        folder = repo.settings.home / "snapshots" / "team" / f"{snapshot.id}-{named}"
        if folder.exists() or _write(repo, snapshot, source, folder, stamp):
            return folder


def _write(repo: FeatureRepo, snapshot: Snapshot, source: TeamSource, folder: Path, stamp: str) -> bool:
    """Whether the folder was written; not when the source's files were replaced meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(repo.settings.home, "team") as working:
        hidden = working / folder.name
        hidden.mkdir()
        _join(repo, snapshot, source, hidden)
        if source.stamp != stamp:
            return False
        with suppress(OSError):  # another worker was faster; the content is the same
            hidden.rename(folder)
    strike_forgotten(repo.log, [folder / file_name(bucket) for bucket in sorted(snapshot.buckets)])
    return True


def _join(repo: FeatureRepo, snapshot: Snapshot, source: TeamSource, hidden: Path) -> None:
    for buckets in _groups(snapshot):
        users = {bucket: snapshot.read(bucket, columns=["user_id"]).column("user_id") for bucket in buckets}
        asked = [user for column in users.values() for user in column.to_pylist()]
        joined, start = repo.join_team(source, asked, snapshot.as_of), 0
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
