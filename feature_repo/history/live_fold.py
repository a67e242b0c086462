"""The live fold: new rows of the log merged into users' inputs as the online store holds them.

It is idempotent and free of order: an event is placed by (event_time, event_id), dropped when its id is there or when
it is too old for its service, and the oldest of a service that has become too long leaves.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.tail import LogRow
from portrait.feature_repo.schemas import HISTORY, plain_times

USER_ID, ITEM_ID, EVENT_TIME, SERVICE, ACTION, WEIGHT, EVENT_ID = range(7)
"""Places in an event's payload."""


class LiveHistory:
    """One user's history as six lists of one length, oldest first, as the online store keeps it."""

    __slots__ = ("actions", "event_ids", "event_times", "item_ids", "position", "services", "weights")

    def __init__(self, row: dict[str, Any]) -> None:
        """`row` has the columns of HISTORY as Python values; its lists are taken over, not copied."""
        self.services: list[str] = row["services"]
        self.item_ids: list[str] = row["item_ids"]
        self.actions: list[str] = row["actions"]
        self.weights: list[float] = row["weights"]
        self.event_times: list[int] = row["event_times"]
        self.event_ids: list[str] = row["event_ids"]
        self.position: int = row["position"]

    def fold(self, event: Sequence[Any], position: int, length: int) -> bool:
        """Put an event in its place and keep at most `length` events of its service; returns whether anything changed.

        A position only counts when its event stays: an event that was known already may have been given another
        position.
        """
        if event[EVENT_ID] in self.event_ids:
            return False
        at = self._place(event[EVENT_TIME], event[EVENT_ID])
        service = event[SERVICE]
        if self.services.count(service) >= length:
            oldest = self.services.index(service)
            if at <= oldest:
                return False
            for values in self._lists():
                del values[oldest]
            at -= 1
        new = (service, event[ITEM_ID], event[ACTION], event[WEIGHT], event[EVENT_TIME], event[EVENT_ID])
        for values, value in zip(self._lists(), new, strict=True):
            values.insert(at, value)
        self.position = max(self.position, position)
        return True

    def _place(self, time: int, event_id: str) -> int:
        """The index of an event in the lists, by (event_time, event_id)."""
        times = self.event_times
        if not times or time > times[-1]:
            return len(times)
        at = bisect_left(times, time)
        while at < len(times) and times[at] == time and self.event_ids[at] < event_id:
            at += 1
        return at

    def _lists(self) -> tuple[list[Any], ...]:
        return self.services, self.item_ids, self.actions, self.weights, self.event_times, self.event_ids


_ORDER = ("position", "as_of", "computed_at")


@dataclass(frozen=True)
class LiveInputs:
    """The inputs of n users after their new rows of the log."""

    table: pa.Table  # columns of FeatureRepo.read_inputs
    position: npt.NDArray[np.int64]  # [n] greatest position among the rows that count
    changed: pa.Table  # HISTORY of the users whose history or profile has changed
    profiles: pa.Table  # profile and order columns of the users whose profile has changed


def fold_rows(inputs: pa.Table, rows: Sequence[LogRow], profile: Sequence[str], length: int, now: int) -> LiveInputs:
    """The inputs of users with these rows folded in, events and profile changes; `now` in microseconds.

    `inputs` is the answer of FeatureRepo.read_inputs for the users of all rows, `profile` names the profile's columns
    in it. Known rows change nothing, so rows may come again. All rows must fit, see `fits`.
    """
    events: dict[str, list[LogRow]] = defaultdict(list)
    changes: dict[str, list[LogRow]] = defaultdict(list)
    for row in rows:
        (events if row.kind == SegmentKind.EVENTS else changes)[row.user_id].append(row)
    plain = plain_times(inputs.select([*HISTORY.names, *profile])).to_pylist()
    changed, with_profile = np.zeros(len(plain), bool), np.zeros(len(plain), bool)
    for place, user in enumerate(plain):
        history, known = LiveHistory(user), user["position"]
        for row in events[user["user_id"]]:
            changed[place] |= history.fold(row.content, row.position, length)
        for row in changes[user["user_id"]]:
            if row.position > known:
                _merge(user, row, profile, history)
                with_profile[place] = True
        user["position"] = history.position
        user["as_of"] = _as_of(user)
        user["computed_at"] = now
    columns = pa.schema([*HISTORY, *(inputs.schema.field(name) for name in profile)])
    table = _table(plain, columns)
    position = table.column("position").to_numpy()
    changed |= with_profile
    rest = inputs.drop_columns([name for name in columns.names if name in inputs.column_names])
    for name in rest.column_names:
        table = table.append_column(rest.schema.field(name), rest.column(name))
    return LiveInputs(
        table=table,
        position=position,
        changed=table.select(HISTORY.names).filter(pa.array(changed)),
        profiles=table.select(["user_id", *profile, *_ORDER]).filter(pa.array(with_profile)),
    )


def fits(row: LogRow, profile: pa.Schema) -> bool:
    """Whether a row is an event, or a profile change of these columns and types; later files may bring others."""
    return row.kind == SegmentKind.EVENTS or all(
        value is None or (name in profile.names and _has_type(value, profile.field(name).type))
        for name, value in row.content.items()
        if name != "user_id"
    )


def _has_type(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind) or isinstance(value, bool):
        return pa.types.is_boolean(kind) and isinstance(value, bool)
    if pa.types.is_floating(kind):
        return isinstance(value, int | float)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return isinstance(value, int)
    return isinstance(value, list if pa.types.is_list(kind) else str)


def _merge(user: dict[str, Any], row: LogRow, profile: Sequence[str], history: LiveHistory) -> None:
    """Apply a profile change. Columns that it leaves out keep their values.

    The caller passes only changes beyond the history's position: an earlier one would undo later ones. Each counts,
    even one without anything new: the profile may have been written and its history and vectors not.
    """
    user.update({name: row.content[name] for name in profile if name in row.content})
    history.position = max(history.position, row.position)


def _as_of(user: dict[str, Any]) -> int:
    """Just after everything known (microseconds); it only decides between two writes of one position."""
    newest = user["event_times"][-1] if user["event_times"] else 0
    return max(user["as_of"] or 0, newest + 1, (user.get("created_time") or 0) + 1)


def _table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays(
        [pa.array([row[field.name] for row in rows], field.type) for field in schema], schema=schema
    )
