"""The fold: a user's last N events per service, as of a time. Snapshots and publishing both use it.

It is idempotent and free of order: events are placed by (event_time, event_id), whichever file they
came with and however often, because an id is in the log once.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from portrait.feature_repo.ingest.keyed_rows import current_rows
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.duck import Duck
from portrait.feature_repo.log.manifest import Segment
from portrait.feature_repo.log.profiles import USERS_KEYS, stored_types
from portrait.feature_repo.schemas import EVENT_TYPES, HISTORY, ORDER, TIME, from_microseconds

NAMED = {"user_id": "VARCHAR"}
_LISTS = ("service", "item_id", "action", "weight", "event_time", "event_id")  # HISTORY's lists, in its order


@dataclass(frozen=True)
class FoldInput:
    """The input of a fold of one or more buckets; holds no connection, so it can travel to another process."""

    home: Path
    events: Sequence[Segment]
    users: Sequence[Segment]
    profile_schema: pa.Schema
    history_length: int
    as_of: datetime
    computed_at: datetime
    signed_up_before: datetime | None = None  # profiles with a later sign-up do not count; None: all do
    beyond: Mapping[int, int] | None = None  # only users with a position greater than their bucket's; None: all users
    only: Sequence[str] | None = None  # only these users; None: all


@dataclass(frozen=True)
class FoldResult:
    """Histories (HISTORY) and profiles (the profile schema), both sorted by user_id."""

    histories: pa.Table
    profiles: pa.Table
    events: int  # before as_of, also those that are too old for the history's length
    oldest: datetime | None  # of these


def fold(duck: Duck, given: FoldInput) -> FoldResult:
    """One history for every user that an event or a users row names, at any time; empty when no event counts.

    A user's position is the greatest among the events before `as_of` and the profile row, at least 0.
    """
    _load(duck, given)
    return fold_tables(duck, given)


def fold_tables(duck: Duck, given: FoldInput) -> FoldResult:
    """The fold of the tables `named_users`, `counted_events` and `counted_profiles`, which hold the rows that count.

    `named_users` has `user_id`; the others have the columns of events, or of profiles, and `position`.
    """
    events, oldest = duck.execute("SELECT count(*), epoch_us(min(event_time)) FROM counted_events").fetchall()[0]
    return FoldResult(
        histories=_histories(duck, given),
        profiles=_profiles(duck, given),
        events=events,
        oldest=None if oldest is None else from_microseconds(oldest),
    )


def _load(duck: Duck, given: FoldInput) -> None:
    events = rows_of(given.home, given.events, EVENT_TYPES)
    profiles = current_rows(given.home, given.users, stored_types(given.profile_schema), USERS_KEYS)
    asked = "" if given.beyond is None and given.only is None else "AND user_id IN (FROM named_users)"
    only = ""
    if given.only is not None:
        duck.register("only_users", pa.table({"user_id": pa.array(given.only, pa.string())}))
        only = "WHERE user_id IN (SELECT user_id FROM only_users)"
    # By the whole second, as the online store keeps it: the same users are in a snapshot and online.
    signed_up = (
        "created_time IS NULL OR date_trunc('second', created_time) < ?" if given.signed_up_before else "? IS NULL"
    )
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE named_users AS SELECT DISTINCT user_id FROM ({_new_rows(given)}) {only}"
    )
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE counted_events AS FROM {events} WHERE event_time < ? {asked}", [given.as_of]
    )
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE counted_profiles AS FROM {profiles} WHERE ({signed_up}) {asked}",
        [given.signed_up_before],
    )


def _new_rows(given: FoldInput) -> str:
    """A SELECT of the `user_id` of each row that counts as new; a segment without new rows is not opened."""
    segments = [*given.events, *given.users]
    if given.beyond is None:
        return f"SELECT user_id FROM {rows_of(given.home, segments, NAMED)}"
    parts: dict[int | None, list[Segment]] = defaultdict(list)
    for segment in segments:
        position = given.beyond[segment.bucket]
        if segment.last_position > position:
            parts[None if segment.first_position > position else position].append(segment)
    selected = [
        f"SELECT user_id FROM {rows_of(given.home, some, NAMED)}"
        + (f" WHERE position > {position}" if position else "")
        for position, some in parts.items()
    ]
    return " UNION ALL ".join(selected) or f"SELECT user_id FROM {rows_of(given.home, [], NAMED)}"


def _histories(duck: Duck, given: FoldInput) -> pa.Table:
    duck.execute(f"""
        CREATE OR REPLACE TEMP TABLE kept_events AS SELECT * EXCLUDE position FROM counted_events
        QUALIFY row_number() OVER (PARTITION BY user_id, service ORDER BY event_time DESC, event_id DESC)
                <= {given.history_length}""")
    users = duck.execute("""
        SELECT user_id, greatest(coalesce(max(position), 0), 0) AS position, coalesce(any_value(kept), 0) AS kept
        FROM (SELECT user_id, NULL AS position FROM named_users
              UNION ALL SELECT user_id, position FROM counted_events
              UNION ALL SELECT user_id, position FROM counted_profiles)
        LEFT JOIN (SELECT user_id, count(*) AS kept FROM kept_events GROUP BY user_id) USING (user_id)
        GROUP BY user_id ORDER BY user_id""").to_arrow_table()
    events = duck.execute(
        f"SELECT {', '.join(_LISTS)} FROM kept_events ORDER BY user_id, event_time, event_id"
    ).to_arrow_table()
    # The events lie user by user, as the users do: lists are nothing but offsets into their columns.
    offsets = pa.array(np.concatenate([[0], np.cumsum(users["kept"].to_numpy())]), pa.int32())
    columns = [users["user_id"].combine_chunks()]
    for field, column in zip([f for f in HISTORY if pa.types.is_list(f.type)], _LISTS, strict=True):
        values = events[column].combine_chunks()
        if column == "event_time":
            values = values.cast(TIME).cast(pa.int64())
        columns.append(pa.ListArray.from_arrays(offsets, values).cast(field.type))
    return pa.Table.from_arrays([*columns, *_order(users, given)], schema=HISTORY)


def _profiles(duck: Duck, given: FoldInput) -> pa.Table:
    rows = duck.execute("FROM counted_profiles ORDER BY user_id").to_arrow_table()
    order = dict(zip((column for column, _ in ORDER), _order(rows, given), strict=True))
    columns = [order[f.name] if f.name in order else rows[f.name].cast(f.type) for f in given.profile_schema]
    return pa.Table.from_arrays(columns, schema=given.profile_schema)


def _order(rows: pa.Table, given: FoldInput) -> list[pa.Array]:
    """The ORDER columns: each row's position, and the same two times in all of them."""
    rows_alike = partial(pa.repeat, size=rows.num_rows)
    times = (rows_alike(pa.scalar(time, TIME)) for time in (given.as_of, given.computed_at))
    return [rows["position"].cast(pa.int64()), *times]
