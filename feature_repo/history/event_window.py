"""Event windows: all events of a stretch of time.

Tasks ask what happened after a moment. Histories cannot tell: they end at N events a service.
"""

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa

from portrait.feature_repo.ingest.seal import sealed_manifest
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import texts
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Manifest, SegmentKind
from portrait.feature_repo.schemas import EVENT_TYPES, TIME

WINDOW = pa.schema([("user_id", pa.string()), ("service", pa.string()), ("item_id", pa.string()), ("event_time", TIME)])


def events_between(
    log: EventLog,
    since: datetime | None,
    until: datetime | None,
    actions: Sequence[str] = (),
    services: Sequence[str] = (),
    weight_above: float | None = None,
) -> pa.Table:
    """Events (WINDOW) with since <= event_time < until, sorted by user, time and id; None leaves a side open.

    Where given, only events of these actions and services and with a greater weight.
    """
    conditions = ["true"]
    given: list[object] = []
    for condition, bound in (("event_time >= ?", since), ("event_time < ?", until), ("weight > ?", weight_above)):
        if bound is not None:
            conditions.append(condition)
            given.append(bound)
    for column, values in (("action", actions), ("service", services)):
        if values:
            conditions.append(f"list_contains({texts(values)}, {column})")

    def read(manifest: Manifest) -> pa.Table:
        events = rows_of(log.home, manifest.segments_of(SegmentKind.EVENTS), EVENT_TYPES, positions=False)
        where = " AND ".join(conditions)
        query = f"SELECT {', '.join(WINDOW.names)} FROM {events} WHERE {where} ORDER BY user_id, event_time, event_id"
        with log.duck() as duck:
            return duck.execute(query, given).to_arrow_table().cast(WINDOW)

    return log.read(read, lambda: sealed_manifest(log))
