"""Bad records of a stream, kept whole: `rejects/stream-<bucket>-<position>.parquet`."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.broker.broker import Entry
from portrait.feature_repo.broker.records import user_of_record
from portrait.feature_repo.log.segments import sync

SCHEMA = pa.schema(
    [
        ("stream", pa.int64()),  # the bucket of the stream
        ("entry", pa.string()),
        ("user_id", pa.string()),  # null where it cannot be read
        ("reason", pa.string()),
        ("record", pa.string()),  # bytes that are no text as \xff
    ]
)


class BadEntry(NamedTuple):
    """An entry that cannot be taken in, and why."""

    entry: Entry
    reason: str

    @property
    def user_id(self) -> str | None:
        """The user whom it names."""
        return user_of_record(self.entry.record)


def write_bad_entries(home: Path, bucket: int, position: str, bad: Sequence[BadEntry]) -> Path:
    """Have a stream's bad entries on disk; `position` is where the reading of the stream began.

    Read again from the same position, they come to lie in the same file.
    """
    rows = [
        {
            "stream": bucket,
            "entry": one.entry.id,
            "user_id": one.user_id,
            "reason": one.reason,
            "record": one.entry.record.decode(errors="backslashreplace"),
        }
        for one in bad
    ]
    folder = home / "rejects"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"stream-{bucket:02d}-{position}.parquet"
    hidden = folder / f".{name}-{secrets.token_hex(4)}"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), hidden, compression="zstd")
    sync(hidden)
    path = hidden.replace(folder / name)
    sync(folder)
    return path
