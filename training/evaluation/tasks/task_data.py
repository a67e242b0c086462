"""The data of tasks: log, profiles and labels of one instance."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from portrait.feature_repo.declaration.team_sources import TeamSource
from portrait.feature_repo.history.catalogue import items_position
from portrait.feature_repo.history.event_window import events_between
from portrait.feature_repo.history.point_in_time import ASKED
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.feature_repo.log.durable_files import file_digest
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import TIME
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.offline_inputs import read_inputs_at
from portrait.registry.errors import InvalidInput, first_line
from portrait.training.encoding.arrays import Bool, Int64
from portrait.training.evaluation.tasks.kinds import Answers, Counted, Task
from portrait.training.runs.training_inputs import TrainingInputs, inputs_of

AT_ONCE = 50_000  # users who are read in one query


@dataclass(frozen=True)
class Rows:
    """n users, each as of a time; a user may be there several times, as of several."""

    users: pa.Table  # in the columns of `snapshot.read`
    as_of: Int64  # [n] microseconds since 1970

    def __len__(self) -> int:
        return len(self.as_of)

    @property
    def ids(self) -> list[str]:
        found: list[str] = self.users["user_id"].to_pylist()
        return found

    def take(self, places: Int64) -> "Rows":
        return Rows(self.users.take(pa.array(places)).combine_chunks(), self.as_of[places])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all parts, one part after the other."""
        return cls(
            pa.concat_tables([part.users for part in parts]).combine_chunks(),
            np.concatenate([part.as_of for part in parts]),
        )


class TaskData:
    """Reads an instance for tasks; all users fit into memory."""

    def __init__(self, repo: FeatureRepo, hidden: str = "", team_fields: Collection[str] | None = None) -> None:
        """`hidden` is a profile field that nothing may learn from, because it is asked for.

        `team_fields` are those that a measured version reads: the views of others are not joined, so that their broken
        files end nothing here. None: all of them.
        """
        self.repo = repo
        self._team_fields = team_fields
        self._exclude = (hidden,) if hidden in repo.input_schema().names else ()
        self._read: dict[str, list[pa.Table]] = {}  # by snapshot: a task goes over the same users many times

    @cached_property
    def newest(self) -> Snapshot:
        """The snapshot of everything that is known; its id is the stamp of the data."""
        return cut_snapshot(self.repo.log)

    def sources(self, task: Task) -> list[str]:
        """Texts of all that lines depend on beside newest snapshot and task: items, fields, and the labels' digest."""
        found = [str(items_position(self.repo.log)), str(self.repo.input_schema())]
        found += [_content(source) for source in self.repo.team_sources()]  # of all views: versions share lines' stamps
        if isinstance(task, Answers) and task.labels is not None:
            found.append(file_digest(self._labels_file(task.labels)))
        return found

    def inputs(
        self, as_of: datetime | None = None, kept: Callable[[pa.Table], pa.Table] | None = None, what: str = ""
    ) -> TrainingInputs:
        """All users as of a time, or what `kept` leaves of each bucket; `what` then names them in the inputs' id."""
        snapshot = self.newest if as_of is None else cut_snapshot(self.repo.log, as_of)
        found = inputs_of(self.repo, snapshot, (*self._exclude, *self._others))
        hidden = tuple(name for name in self._exclude if name not in self._others)
        found = replace(found, schema=found.schema.exclude(self._others), exclude=hidden)
        if snapshot.id not in self._read:
            self._read[snapshot.id] = list(found.tables())
        held = self._read[snapshot.id]
        found = replace(found, tables=lambda: iter(held))
        if kept is None:
            return found
        tables, change = found.tables, kept
        users = sum(change(table).num_rows for table in tables())
        return replace(found, tables=lambda: map(change, tables()), users=users, snapshot=f"{found.snapshot}-{what}")

    @cached_property
    def _others(self) -> tuple[str, ...]:
        """The teams' fields that nobody here reads."""
        mine = self._team_fields
        return () if mine is None else tuple(f.name for f in self.repo.input_schema().team if f.name not in mine)

    def rows(self, as_of: datetime | None = None) -> Rows:
        """All users as they are now, or as they were at a time."""
        if as_of is None:
            return self._newest_rows
        known = self._rows(as_of)
        return self.rows_at(known.users["user_id"].combine_chunks(), known.as_of)

    @cached_property
    def _newest_rows(self) -> Rows:
        return self._rows(None)

    def _rows(self, as_of: datetime | None) -> Rows:
        inputs = self.inputs(as_of)
        users = pa.concat_tables(inputs.tables()).combine_chunks()
        return Rows(users, np.full(users.num_rows, inputs.as_of_us, dtype=np.int64))

    def rows_at(self, user_ids: pa.Array, as_of: Int64, *, signing_up: bool = False) -> Rows:
        """These users in this order, each as of its own time: profile and events as they were known then.

        With `signing_up` the time is their sign-up, and the profile what they said at it.
        """
        bucket = np.array([bucket_of(user) for user in user_ids.to_pylist()], dtype=np.int64)
        asked = pa.table([user_ids, pa.array(as_of).cast(TIME)], schema=ASKED)
        order = np.argsort(bucket, kind="stable")
        tables: list[pa.Table] = []
        for start in range(0, max(len(order), 1), AT_ONCE):  # a query has a fixed cost, and memory an end
            mine = order[start : start + AT_ONCE]
            buckets = np.unique(bucket[mine]).tolist()
            tables += read_inputs_at(
                self.repo, buckets, asked.take(pa.array(mine)), signing_up=signing_up, fields=self._team_fields
            )
        if not tables:
            return self.rows().take(np.empty(0, np.int64))
        return Rows(pa.concat_tables(tables).take(pa.array(np.argsort(order))).combine_chunks(), as_of)

    def events(self, counted: Counted, since: datetime | None, until: datetime | None) -> pa.Table:
        """The counted events of a stretch of time."""
        return events_between(self.repo.log, since, until, counted.actions, counted.services, counted.weight_above)

    def require_until(self, end: datetime, what: str) -> None:
        """Raise InvalidInput unless the log reaches the end of a task's answers."""
        reached = self.newest.as_of
        if reached < end:
            raise InvalidInput(
                f"{what} needs events up to {end:%Y-%m-%d %H:%M}, but the log ends at {reached:%Y-%m-%d %H:%M}: "
                "choose an earlier cut or a shorter horizon"
            )

    def answers(self, asked: Answers) -> pa.Table:
        """`user_id`, `answer` (text) and `as_of` (microseconds, null: none given) of each user that has one."""
        if asked.profile is not None:
            table = self.rows().users
            if asked.profile not in table.column_names:
                there = [field.name for field in self.repo.input_schema().profile]
                raise InvalidInput(f"profile = {asked.profile!r}: the users table has {', '.join(there) or 'no field'}")
            return _answers(table["user_id"], table[asked.profile], None)
        path = self._labels_file(asked.labels or "")
        columns = ("user_id", asked.column or "")
        table = _table(path, columns)
        for column in columns:
            if column not in table.column_names:
                raise InvalidInput(f"{path} has no column {column!r}; it has {', '.join(table.column_names)}")
        times = table["event_time"] if "event_time" in table.column_names else None
        try:
            found = _answers(table["user_id"], table[asked.column], times)
        except pa.ArrowException as error:
            what = f"user_id, {asked.column} or event_time"
            raise InvalidInput(f"{path}: {what} cannot be read: {first_line(error)}") from error
        forgotten = self.repo.log.forgotten_among(found["user_id"].unique().to_pylist())  # since the file was made
        return exclude_users(pa.array(sorted(forgotten), pa.string()))(found) if forgotten else found

    def _labels_file(self, labels: str) -> Path:
        path = Path(labels)
        if path.is_absolute():
            if not path.is_file():
                raise InvalidInput(f"there is no labels file {path}")
            return path
        folder = self.repo.settings.home / "labels"
        found = folder / f"{labels}.parquet"
        if not found.exists():
            there = ", ".join(sorted(file.stem for file in folder.glob("*.parquet"))) or "none"
            raise InvalidInput(
                f"labels = {labels!r}: there is no {found}; the home has {there}. Put a Parquet file with user_id and "
                "the label there, or name one by its path"
            )
        return found


def hash_users(user_ids: Sequence[str], salt: str) -> np.ndarray:
    """float64 [n] in [0, 1): where each user falls, the same in every run and at every version."""
    digests = (blake2b(user.encode(), digest_size=8, salt=salt.encode()[:16]).digest() for user in user_ids)
    return np.fromiter((int.from_bytes(digest, "little") / 2**64 for digest in digests), np.float64, len(user_ids))


def places_of(user_ids: pa.Array, among: pa.Table) -> Int64:
    """Rows of users in a table; -1 for those who are not there."""
    found = pc.index_in(user_ids, value_set=among["user_id"].combine_chunks())
    places: Int64 = np.asarray(pc.fill_null(found, -1), dtype=np.int64)
    return places


def exclude_users(user_ids: pa.Array) -> Callable[[pa.Table], pa.Table]:
    """A function that takes these users out of a table."""
    return lambda table: table.filter(pc.invert(pc.is_in(table["user_id"], value_set=user_ids)))


def flags(user_ids: pa.Array, among: pa.Array) -> Bool:
    """Bool [n]: which of the users are among the others."""
    return np.asarray(pc.is_in(user_ids, value_set=among))


def _content(source: TeamSource) -> str:
    """What a view's files hold now; its name where they cannot be joined: who reads it is told so."""
    try:
        return source.stamp
    except InvalidInput:
        return source.name


def _answers(users: pa.ChunkedArray, values: pa.ChunkedArray, times: pa.ChunkedArray | None) -> pa.Table:
    as_of = pa.nulls(len(users), pa.int64()) if times is None else times.cast(TIME, safe=False).cast(pa.int64())
    table = pa.table({"user_id": users.cast(pa.string()), "answer": values.cast(pa.string()), "as_of": as_of})
    return table.filter(pc.and_(pc.is_valid(table["user_id"]), pc.is_valid(table["answer"]))).combine_chunks()


def _table(path: Path, texts: Sequence[str]) -> pa.Table:
    """A Parquet file, or a CSV file (plain or gzip) in which these columns are texts: 007 is no number."""
    as_texts = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string()))
    try:
        return (
            pyarrow.csv.read_csv(path, convert_options=as_texts)
            if ".csv" in path.suffixes
            else pq.read_table(path, partitioning=None)
        )
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"labels file {path} cannot be read: {first_line(error)}") from error
