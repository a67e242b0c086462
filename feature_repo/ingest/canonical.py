"""What an events file must look like, and the SELECT that turns its rows into typed ones with a verdict."""

from datetime import datetime

from portrait.feature_repo.ingest.cells import EARLIEST, LARGEST_FLOAT32, given, number_cell, text_cell, time_cell
from portrait.feature_repo.ingest.source import Source
from portrait.feature_repo.log.partition import bucket_sql

EVENTS_NEEDED = ("user_id", "item_id", "event_time")
DEFAULT_SERVICE = "default"
DEFAULT_ACTION = "view"
DEFAULT_WEIGHT = 1.0


def canonical_events(source: Source, now: datetime) -> str:
    """A SELECT of `row, bucket`, the columns of EVENTS and `reason` (null when the row is good).

    `event_id` is null where the file gives none. Raises InvalidInput for a column of an unfit type.
    """
    return f"""
        SELECT row, {bucket_sql("user_id")} AS bucket, user_id, item_id, event_time,
               coalesce(service, '{DEFAULT_SERVICE}') AS service, coalesce(action, '{DEFAULT_ACTION}') AS action,
               -- adding zero makes -0.0 equal to 0.0 in the id's text too
               CASE WHEN reason IS NULL THEN coalesce(weight, {DEFAULT_WEIGHT})::FLOAT + 0::FLOAT END AS weight,
               event_id, reason
        FROM (SELECT *, {_reason(now)} AS reason FROM (
            SELECT row,
                   {text_cell(source, "user_id")} AS user_id,
                   {text_cell(source, "item_id")} AS item_id,
                   {time_cell(source, "event_time")} AS event_time,
                   {given(source, "event_time")} AS time_given,
                   {text_cell(source, "service")} AS service,
                   {text_cell(source, "action")} AS action,
                   {number_cell(source, "weight")} AS weight,
                   {given(source, "weight")} AS weight_given,
                   {text_cell(source, "event_id")} AS event_id
            FROM {source.rows}))"""


def future(column: str, now: datetime) -> str:
    """Whether a time lies after `now`."""
    return f"{column} > TIMESTAMPTZ '{now.isoformat(sep=' ')}'"


def _reason(now: datetime) -> str:
    return f"""CASE
        WHEN user_id IS NULL THEN 'user_id is null or empty'
        WHEN item_id IS NULL THEN 'item_id is null or empty'
        WHEN NOT time_given THEN 'event_time is null or empty'
        WHEN event_time IS NULL OR NOT isfinite(event_time) THEN 'event_time is not a time'
        WHEN event_time < {EARLIEST} THEN 'event_time lies before 1900'
        WHEN {future("event_time", now)} THEN 'event_time lies in the future'
        WHEN weight_given AND weight IS NULL THEN 'weight is not a number'
        WHEN NOT isfinite(weight) OR abs(weight) >= {LARGEST_FLOAT32} THEN 'weight is not finite'
    END"""
