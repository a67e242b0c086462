"""The fold, event by event: what `fold` makes of a whole log, made of a history and what came to it since.

It is idempotent and free of order: an event is placed by (event_time, event_id), dropped when its id is there or when
it is too old for its service, and the oldest of a service that has become too long leaves.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

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
        """Put an event in its place and keep at most `length` events of its service; whether anything changed.

        A position only counts when its event stays: one that was known already may have been given another.
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
        """Where it belongs by (event_time, event_id)."""
        times = self.event_times
        if not times or time > times[-1]:
            return len(times)
        at = bisect_left(times, time)
        while at < len(times) and times[at] == time and self.event_ids[at] < event_id:
            at += 1
        return at

    def _lists(self) -> tuple[list[Any], ...]:
        return self.services, self.item_ids, self.actions, self.weights, self.event_times, self.event_ids
