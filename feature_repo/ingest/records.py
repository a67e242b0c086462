"""JSON records of events, users and items, judged and turned into rows of the inbox.

A payload has its fields in a fixed order and float32 numbers, so that equal content gives equal text.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import time_ns

import orjson

from portrait.feature_repo.ingest.event_files import DEFAULT_ACTION, DEFAULT_SERVICE, DEFAULT_WEIGHT
from portrait.feature_repo.ingest.event_ids import EventIds
from portrait.feature_repo.ingest.items import VECTOR
from portrait.feature_repo.ingest.known_columns import Columns, KnownColumns
from portrait.feature_repo.ingest.record_fields import (
    TEXT_BYTES,
    UnfitRecord,
    float32_of,
    past_time_of,
    require_known_fields,
    text_of,
    texts_of,
    time_of,
    vector_of,
)
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.profiles import WANTED
from portrait.feature_repo.schemas import EVENTS

EVENT_FIELDS = tuple(EVENTS.names)
_INT64 = 2**63
EXACT = 2**53
"""From here on a float may stand for several whole numbers."""


def event_of(record: dict[str, object], ids: EventIds, latest: int, clamp_to: int | None = None) -> ArrivingRecord:
    """An event not after `latest` (µs), as a row of the inbox; raises UnfitRecord.

    A later one is clamped to `clamp_to`, if that is given. An event without an id gets one by its content as given.
    """
    require_known_fields(record, EVENT_FIELDS, "an event")
    get = record.get
    user = _require_text(text_of(get("user_id"), "user_id"), "user_id")
    item = _require_text(text_of(get("item_id"), "item_id"), "item_id")
    time = past_time_of(get("event_time"), "event_time", latest if clamp_to is None else None)
    if time is None:
        raise UnfitRecord("event_time is null or empty")
    clamped = time > latest
    service = text_of(get("service"), "service") or DEFAULT_SERVICE
    action = text_of(get("action"), "action") or DEFAULT_ACTION
    given = get("weight")
    weight = DEFAULT_WEIGHT if given is None else float32_of(given, "weight")
    event_id = text_of(get("event_id"), "event_id") or ids.id_for((user, item, time, service, action, weight))
    kept = clamp_to if clamped else time
    payload = orjson.dumps((user, item, kept, service, action, weight, event_id)).decode()
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), payload, user, event_id, clamped)


def user_of(record: dict[str, object], further: Mapping[str, str], latest: int) -> ArrivingRecord:
    """A sign-up or a profile change, as a row of the inbox; raises UnfitRecord.

    `further` are the DuckDB types of the further columns, by name.
    """
    fields = ("user_id", "created_time", "onboarding_items", *further)
    require_known_fields(
        record, fields, "a user", "; `portrait ingest --users FILE` with such a column brings a new one"
    )
    user = _require_text(text_of(record.get("user_id"), "user_id"), "user_id")
    content: dict[str, object] = {"user_id": user}
    if "created_time" in record:
        content["created_time"] = past_time_of(record["created_time"], "created_time", latest)
    if "onboarding_items" in record:
        content["onboarding_items"] = texts_of(record["onboarding_items"], "onboarding_items")
    for column in sorted(record.keys() & further.keys()):
        content[column] = _further_value(record[column], column, further[column])
    return ArrivingRecord(SegmentKind.USERS, bucket_of(user), orjson.dumps(content).decode(), user)


def item_of(record: dict[str, object], lengths: Mapping[str, int]) -> ArrivingRecord:
    """A new item or a change of one, as a row of the inbox; raises UnfitRecord.

    `lengths` are those of the catalogue's vectors by column, `vector_<modality>`.
    """
    fields = ("service", "item_id", "text", "tags", *lengths)
    remedy = f"; `portrait ingest --items FILE` with a column `{VECTOR}...` brings one"
    require_known_fields(record, fields, "an item", remedy)
    item = _require_text(text_of(record.get("item_id"), "item_id"), "item_id")
    service = text_of(record.get("service"), "service") or DEFAULT_SERVICE
    content: dict[str, object] = {"service": service, "item_id": item}
    if "text" in record:
        content["text"] = text_of(record["text"], "text", TEXT_BYTES)
    if "tags" in record:
        content["tags"] = texts_of(record["tags"], "tags")
    for column in sorted(record.keys() & lengths.keys()):
        content[column] = vector_of(record[column], column, lengths[column])
    return ArrivingRecord(SegmentKind.ITEMS, ITEMS_BUCKET, orjson.dumps(content).decode())


def _require_text(text: str | None, name: str) -> str:
    if text is None:
        raise UnfitRecord(f"{name} is null or empty")
    return text


def _further_value(value: object, column: str, kind: str) -> object:
    """A value of a further profile column; raises UnfitRecord for another type than `kind` (a DuckDB type)."""
    if value is None:
        return None
    match kind:
        case "BOOLEAN" if type(value) is bool:
            return value
        case "BIGINT" if type(value) is int and -_INT64 <= value < _INT64:
            return value
        case "BIGINT" if type(value) is float and value.is_integer() and abs(value) < EXACT:
            return int(value)
        case "DOUBLE" if type(value) is float or type(value) is int:
            return _finite_number(value, column)
        case "TIMESTAMPTZ":
            return time_of(value, column)
        case "VARCHAR" if type(value) is str:
            return text_of(value, column, TEXT_BYTES)
    raise UnfitRecord(f"{column} is not {WANTED[kind]}")


def settled_value(value: object, column: str, kind: str) -> object:
    """A stored value of a further column that has got its type, or another one, since the value was judged.

    Times are microseconds. Raises UnfitRecord when the column's type cannot hold it.
    """
    match value, kind:
        case (None, _) | (bool(), "BOOLEAN") | (str(), "VARCHAR"):
            return value
        case bool(), "VARCHAR":
            return str(value).lower()
        case bool(), _:
            pass
        case int(), "BIGINT" | "TIMESTAMPTZ":
            return value
        case ((int() | float()), "DOUBLE"):
            return float(value)
        case ((int() | float()), "VARCHAR"):
            return str(value)
    raise UnfitRecord(f"{column} is not {WANTED[kind]}")


def _finite_number(value: float | int, column: str) -> float:
    if not abs(value) <= 1.7976931348623157e308:
        raise UnfitRecord(f"{column} is not finite")
    return float(value)


@dataclass(frozen=True)
class RejectedRecord:
    """A bad record; its kind is None where it cannot be told."""

    reason: str
    kind: SegmentKind | None = None


class RecordJudge:
    """Tells good records from bad ones; never raises because of the content of a record.

    Times may lie `ahead` seconds after now. Later ones are rejected; of events, with `clamps`, they become now.
    """

    def __init__(self, known: KnownColumns, ahead: float = 5.0, clamps: bool = False) -> None:
        self.known = known
        self._ahead = ahead
        self._clamps = clamps

    def judge(
        self, kind: SegmentKind, records: Iterable[object], skew: float = 0.0
    ) -> Iterator[ArrivingRecord | RejectedRecord]:
        """Judge records (as orjson parses them) in turn, all of one request; they may lie at least `skew` s ahead.

        Identical events without an id get different ids within a call, and the same ids again in the next call.
        Users and items may raise Unavailable when the columns have never been read.
        """
        ids, now = EventIds(), time_ns() // 1000
        latest = now + round(max(skew, self._ahead) * 1_000_000)
        columns = Columns() if kind is SegmentKind.EVENTS else self.known.current
        for record in records:
            try:
                if type(record) is not dict:
                    raise UnfitRecord("a record is a JSON object")
                if kind is SegmentKind.EVENTS:
                    yield event_of(record, ids, latest, now if self._clamps else None)
                elif kind is SegmentKind.USERS:
                    yield user_of(record, columns.further, latest)
                else:
                    yield item_of(record, columns.vectors)
            except UnfitRecord as unfit:
                yield RejectedRecord(str(unfit), kind)
