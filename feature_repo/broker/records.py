"""Stream records: the JSON object that the HTTP API takes plus `kind`, and the rejects files of bad entries."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.broker.broker import StreamEntry
from portrait.feature_repo.ingest.record_fields import UnfitRecord
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import from_microseconds

KINDS = ", ".join(SegmentKind)


def stream_record(arriving: ArrivingRecord, record: Mapping[str, object]) -> tuple[int, bytes]:
    """A judged record for the broker: the bucket of its stream, and its JSON.

    In it an event has its id, and a clamped one the time of its receipt.
    """
    settled: dict[str, object] = {} if arriving.event_id is None else {"event_id": arriving.event_id}
    if arriving.clamped:
        settled["event_time"] = from_microseconds(orjson.loads(arriving.payload)[2]).isoformat()
    return _stream_of(arriving), orjson.dumps({"kind": arriving.kind, **record, **settled})


def kind_and_fields(record: bytes) -> tuple[SegmentKind, dict[str, object]]:
    """The kind and the fields of a record of a stream; raises UnfitRecord when it is no such record."""
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError as error:
        raise UnfitRecord(f"the record is not JSON: {error}") from error
    if type(fields) is not dict:
        raise UnfitRecord("a record is a JSON object")
    kind = fields.pop("kind", None)
    if type(kind) is not str or kind not in set(SegmentKind):
        raise UnfitRecord(f"kind is none of {KINDS}")
    return SegmentKind(kind), fields


def user_of_record(record: bytes) -> str | None:
    """The user that a record names, as text; None where it names none or cannot be read."""
    try:
        fields = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    user = fields.get("user_id") if type(fields) is dict else None
    return str(user) if type(user) is str or type(user) is int else None


def _stream_of(arriving: ArrivingRecord) -> int:
    """The bucket of a record's stream. Items have no bucket that a shard holds: theirs follows from the item."""
    return arriving.bucket if arriving.bucket != ITEMS_BUCKET else _item_bucket(arriving.payload)


def _item_bucket(payload: str) -> int:
    item = orjson.loads(payload)
    return bucket_of(f"{item['service']}/{item['item_id']}")


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
    """An entry that cannot be taken in, and the reason."""

    entry: StreamEntry
    reason: str

    @property
    def user_id(self) -> str | None:
        return user_of_record(self.entry.record)


def write_bad_entries(home: Path, bucket: int, position: str, bad: Sequence[BadEntry]) -> Path:
    """Write a stream's bad entries to a file of `rejects/` and sync it; `position` is where the reading began.

    Entries that are read again from the same position go to the same file.
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
    path = folder / f"stream-{bucket:02d}-{position}.parquet"
    with replacement(path) as scratch:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), scratch, compression="zstd")
    return path
