"""An artificial clock for data sets that have none.

Sequences are aligned at their ends: the last event of everyone lies on `LAST_DAY`, the one before a day earlier. So
windows of 7, 30 and 180 days before the log's end are filled for everybody, and leaving the last k events out for an
evaluation is simply `--as-of`: events before LAST_DAY are all but the last one, events before the day before LAST_DAY
all but the last two.
"""

from datetime import UTC, datetime

LAST_DAY = datetime(2000, 12, 31, tzinfo=UTC)

INSTANT_SQL = f"TIMESTAMP '{LAST_DAY:%Y-%m-%d}'"
"""LAST_DAY as a DuckDB expression: the time of all events where not even an order is known."""


def day_sql(events_after: str) -> str:
    """The time of an event that so many events of its sequence (an SQL expression) follow."""
    return f"({INSTANT_SQL} - to_days(({events_after})::INTEGER))"
