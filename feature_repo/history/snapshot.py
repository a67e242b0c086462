"""Snapshots: history and profile of all users as of a time, for training and backfill.

A snapshot exists once `snapshots/<id>.json` does; its folders below `history/` and `profile/` hold one
Parquet file a bucket.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from portrait.feature_repo.log.durable_files import write_whole
from portrait.feature_repo.schemas import HISTORY, ORDER
from portrait.registry.errors import InvalidInput, NotFound

FOLDER = "snapshots"
HISTORY_FOLDER = "history"
PROFILE_FOLDER = "profile"
_ORDER_COLUMNS = frozenset(column for column, _ in ORDER)


@dataclass(frozen=True)
class Snapshot:
    """A cut of the log. It never changes, except that forgotten users leave it.

    `events` counts those before `as_of`, and `data_from` is the time of the oldest one, both as of the cut.
    """

    home: Path
    id: str
    as_of: datetime
    history_length: int
    users: int
    events: int
    data_from: datetime | None
    buckets: dict[int, int]  # bucket -> users; buckets without users are left out
    created_at: datetime

    @property
    def history_path(self) -> Path:
        return self.home / FOLDER / HISTORY_FOLDER / self.id

    @property
    def profile_path(self) -> Path:
        return self.home / FOLDER / PROFILE_FOLDER / self.id

    @property
    def profile_schema(self) -> pa.Schema:
        """PROFILE_FIXED and the further columns as of the cut."""
        return pq.read_schema(next(iter(sorted(self.profile_path.glob("*.parquet")))))

    @property
    def schema(self) -> pa.Schema:
        """Columns of `read`: HISTORY, then the profile's without its key and order columns."""
        return inputs_schema(self.profile_schema)

    def read(self, bucket: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Users of a bucket sorted by id: history, with the profile's columns (null where there is no profile).

        Raises InvalidInput for an unknown column.
        """
        schema = self.schema
        wanted = list(columns) if columns is not None else schema.names
        unknown = [column for column in wanted if column not in schema.names]
        if unknown:
            raise InvalidInput(f"snapshots have no column `{unknown[0]}`; they have: {', '.join(schema.names)}")
        if bucket not in self.buckets:
            return schema.empty_table().select(wanted)
        table = self._history(bucket, wanted)
        if not set(wanted) <= set(HISTORY.names):
            table = join_profiles(
                table, pq.read_table(self.profile_path / file_name(bucket), partitioning=None), wanted
            )
        return table.select(wanted)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the snapshot's file and `--json`."""
        return {
            "id": self.id,
            "as_of": self.as_of.isoformat(),
            "history_length": self.history_length,
            "users": self.users,
            "events": self.events,
            "data_from": self.data_from.isoformat() if self.data_from else None,
            "buckets": {str(bucket): users for bucket, users in sorted(self.buckets.items())},
            "created_at": self.created_at.isoformat(),
        }

    def _history(self, bucket: int, wanted: Sequence[str]) -> pa.Table:
        needed = [column for column in HISTORY.names if column in wanted or column == "user_id"]
        return pq.read_table(self.history_path / file_name(bucket), columns=needed, partitioning=None)


def file_name(bucket: int) -> str:
    return f"bucket={bucket:02d}.parquet"


def load_snapshot(home: Path, id: str) -> Snapshot:
    """The snapshot of that id; raises NotFound naming those that exist."""
    path = home / FOLDER / f"{id}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in (home / FOLDER).glob("*.json"))) or "none"
        raise NotFound(f"there is no snapshot {id}; there are: {known}")
    return _from_json(home, json.loads(path.read_text()))


def snapshots(home: Path) -> list[Snapshot]:
    """All snapshots, the oldest cut first."""
    found = (_from_json(home, json.loads(path.read_text())) for path in (home / FOLDER).glob("*.json"))
    return sorted(found, key=lambda snapshot: (snapshot.created_at, snapshot.id))


def recount_users(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the users that its files hold now: users who were forgotten since are missing."""
    files = {bucket: snapshot.history_path / file_name(bucket) for bucket in snapshot.buckets}
    buckets = {bucket: users for bucket, file in files.items() if (users := pq.read_metadata(file).num_rows)}
    return snapshot if buckets == snapshot.buckets else replace(snapshot, users=sum(buckets.values()), buckets=buckets)


def save_snapshot(snapshot: Snapshot) -> None:
    """Write the JSON file that makes the snapshot exist; it appears whole."""
    path = snapshot.home / FOLDER / f"{snapshot.id}.json"
    write_whole(path, json.dumps(snapshot.to_json(), indent=2) + "\n")


def _from_json(home: Path, values: dict[str, Any]) -> Snapshot:
    return Snapshot(
        home=home,
        id=values["id"],
        as_of=datetime.fromisoformat(values["as_of"]),
        history_length=values["history_length"],
        users=values["users"],
        events=values["events"],
        data_from=datetime.fromisoformat(values["data_from"]) if values["data_from"] else None,
        buckets={int(bucket): users for bucket, users in values["buckets"].items()},
        created_at=datetime.fromisoformat(values["created_at"]),
    )


def inputs_schema(profiles: pa.Schema) -> pa.Schema:
    """HISTORY, then the profile's columns without its key and order columns."""
    return pa.schema([*HISTORY, *(f for f in profiles if f.name not in HISTORY.names)])


def join_profiles(histories: pa.Table, profiles: pa.Table, wanted: Sequence[str]) -> pa.Table:
    """Histories with those wanted columns that profiles have, joined by user; null where there is no profile."""
    at = pc.index_in(histories["user_id"], value_set=profiles["user_id"])
    for column in profiles.column_names:
        if column in wanted and column not in HISTORY.names:
            histories = histories.append_column(profiles.schema.field(column), profiles[column].take(at))
    return histories
