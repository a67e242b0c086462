"""The catalogue of items: the newest row of every item, and the rows that came after a position."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sqlalchemy import select

from portrait.feature_repo.ingest.event_files import DEFAULT_SERVICE
from portrait.feature_repo.ingest.items import FIXED, ITEMS_KEYS, VECTOR, items_columns, items_schema, vector_columns
from portrait.feature_repo.ingest.keyed_rows import current_rows
from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log.committed import dated_rows_of, rows_of
from portrait.feature_repo.log.duck import name
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import FIRST_POSITION, ITEMS_BUCKET, Manifest, SegmentKind
from portrait.feature_repo.log.tables import BucketRow, InboxRow
from portrait.feature_repo.schemas import microseconds

Item = dict[str, Any]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
_KEYS = "(SELECT unnest(?::VARCHAR[]) AS service, unnest(?::VARCHAR[]) AS item_id)"


def catalogue(log: EventLog) -> pa.Table:
    """Current items: `service, item_id, text, tags` and the `vector_<modality>` columns, sorted by service and item."""
    segments = log.manifest().segments_of(SegmentKind.ITEMS)
    columns = items_columns(vector_columns(log.home, segments))
    names = ", ".join(map(name, columns))
    current = current_rows(log.home, segments, columns, ITEMS_KEYS)
    with log.duck() as duck:
        table = duck.execute(f"SELECT {names} FROM {current} ORDER BY service, item_id").to_arrow_table()
    return table.cast(items_schema(columns))


@dataclass(frozen=True)
class CatalogueHistory:
    """Every row that items ever had, in the order of the log."""

    rows: pa.Table  # in the columns of `catalogue`
    committed_at: Integers  # int64 [n] microseconds: when readers could first see each row
    first: Booleans  # bool [n] whether a row is the first of its item
    began_at: int | None  # microseconds when readers could first see a row of the log; None for an empty log


def catalogue_history(log: EventLog) -> CatalogueHistory:
    """All rows of items with their times; the inbox is sealed first."""

    def read(manifest: Manifest) -> CatalogueHistory:
        segments = manifest.segments_of(SegmentKind.ITEMS)
        columns = items_columns(vector_columns(log.home, segments))
        names, keys = ", ".join(map(name, columns)), ", ".join(ITEMS_KEYS)
        with log.duck() as duck:
            table = duck.execute(
                f"SELECT {names}, epoch_us(committed_at) AS committed_at, "
                f"row_number() OVER (PARTITION BY {keys} ORDER BY position) = 1 AS is_first "
                f"FROM {dated_rows_of(log.home, segments, columns)} ORDER BY position"
            ).to_arrow_table()
        times, first = table["committed_at"].to_numpy(), table["is_first"].to_numpy()
        log_began = manifest.began_at()
        began = None if log_began is None else microseconds(log_began)
        return CatalogueHistory(table.select(list(columns)).cast(items_schema(columns)), times, first, began)

    return log.read(read, lambda: sealed_manifest(log))


def items_position(log: EventLog) -> int:
    """Position of the newest row of items, 0 without any; costs one small query."""
    with log.database.reading() as session:
        following = session.scalar(select(BucketRow.next_position).where(BucketRow.bucket == ITEMS_BUCKET))
    return (FIRST_POSITION if following is None else following) - 1


def items_since(log: EventLog, position: int) -> tuple[pa.Table, int]:
    """Rows of items beyond a position (columns of `catalogue`, order of the log), and the newest position.

    Each row is the whole item as it was then. Items of the inbox count, whether they are sealed meanwhile or not. When
    there is nothing new this costs one small query.
    """
    newest = items_position(log)
    if newest <= position:
        return items_schema(FIXED).empty_table(), position
    accepted = _accepted_items(log, newest)  # before the segments: sealing moves rows from here to there
    segments = log.manifest().segments_of(SegmentKind.ITEMS)
    given = {column for item in accepted.values() for column in item if column.startswith(VECTOR)}
    columns = items_columns(sorted({*vector_columns(log.home, segments), *given}))
    new = [segment for segment in segments if segment.last_position > position]
    names = ", ".join([*map(name, columns), "position"])
    with log.duck() as duck:
        since = f"SELECT {names} FROM {rows_of(log.home, new, columns)} WHERE position > ? AND position <= ?"
        sealed = duck.execute(since, [position, newest]).to_arrow_table()
        earlier = (
            f"SELECT {names} FROM {rows_of(log.home, segments, columns)} SEMI JOIN {_KEYS} USING (service, item_id)"
        )
        before = duck.execute(earlier, _columns_of(accepted)).to_arrow_table() if accepted else sealed.slice(0, 0)
    whole = _complete_items(accepted, {row.pop("position"): row for row in before.to_pylist()})
    waiting = whole.keys() - set(sealed["position"].to_pylist())
    rows = [{**whole[place], "position": place} for place in waiting if place > position]
    schema = items_schema(columns).append(pa.field("position", pa.int64()))
    table = pa.concat_tables([sealed.cast(schema), pa.Table.from_pylist(rows, schema)])
    return table.sort_by("position").drop_columns("position"), newest


def _accepted_items(log: EventLog, up_to: int) -> dict[int, Item]:
    """The items in the inbox by position, each with its given columns."""
    query = select(InboxRow.position, InboxRow.payload).where(
        InboxRow.bucket == ITEMS_BUCKET, InboxRow.position <= up_to
    )
    with log.database.reading() as session:
        rows = session.execute(query.order_by(InboxRow.position)).all()
    return {position: {"service": DEFAULT_SERVICE, **json.loads(payload)} for position, payload in rows}


def _complete_items(accepted: Mapping[int, Item], sealed: Mapping[int, Item]) -> dict[int, Item]:
    """The accepted rows by position, each completed from the item's row before it."""
    current: dict[tuple[str, str], Item] = {}
    whole = {}
    for position, row in sorted({**accepted, **sealed}.items()):
        key = row["service"], row["item_id"]
        current[key] = {**current.get(key, {}), **row}
        if position in accepted:
            whole[position] = current[key]
    return whole


def _columns_of(accepted: Mapping[int, Item]) -> list[list[str]]:
    return [[item[column] for item in accepted.values()] for column in ITEMS_KEYS]
