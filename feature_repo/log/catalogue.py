"""The catalogue: every item as its newest row has it."""

import pyarrow as pa

from feature_repo.log.duck import name
from feature_repo.log.event_log import EventLog
from feature_repo.log.items import ITEMS_KEYS, items_columns, items_schema, known_vectors
from feature_repo.log.keyed import current_rows
from feature_repo.log.manifest import Kind


def catalogue(log: EventLog) -> pa.Table:
    """Current items: `service, item_id, text, tags` and the `vector_<modality>` columns, sorted by service and item."""
    segments = log.manifest().of(Kind.ITEMS)
    columns = items_columns(known_vectors(log.home, segments))
    names = ", ".join(map(name, columns))
    current = current_rows(log.home, segments, columns, ITEMS_KEYS)
    with log.duck() as duck:
        table = duck.execute(f"SELECT {names} FROM {current} ORDER BY service, item_id").to_arrow_table()
    return table.cast(items_schema(columns))
