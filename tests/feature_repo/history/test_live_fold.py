"""The live fold: event by event, in any order and repeated, it ends as the fold of the whole log."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait.feature_repo.history.fold import FoldInput, fold
from portrait.feature_repo.history.live_fold import LiveHistory
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.profiles import profile_schema
from portrait.feature_repo.schemas import HISTORY, TIME
from tests.feature_repo.conftest import NOW, Write

LISTS = [field.name for field in HISTORY if pa.types.is_list(field.type)]


class Event(NamedTuple):
    """The payload of an event."""

    user_id: str
    item_id: str
    event_time: int
    service: str
    action: str
    weight: float
    event_id: str


def empty(user: str = "ann") -> LiveHistory:
    return LiveHistory({"user_id": user, "position": 0} | {name: [] for name in LISTS})


def lists(history: LiveHistory) -> dict[str, list[Any]]:
    return {name: getattr(history, name) for name in LISTS}


def reference(events: Sequence[Event], length: int) -> dict[str, list[Any]]:
    """Distinct ids, by (time, id), the last `length` of each service."""
    distinct = sorted({event.event_id: event for event in events}.values(), key=lambda e: (e.event_time, e.event_id))
    kept = [
        event
        for place, event in enumerate(distinct)
        if sum(later.service == event.service for later in distinct[place + 1 :]) < length
    ]
    columns = zip(*((e.service, e.item_id, e.action, e.weight, e.event_time, e.event_id) for e in kept), strict=True)
    return dict(zip(LISTS, map(list, columns), strict=True)) if kept else {name: [] for name in LISTS}


def distinct_events(ids: list[str]) -> st.SearchStrategy[list[Event]]:
    """Events of these ids: few times, so that many are tied, and few services, so that many are too old."""
    event = st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.sampled_from(["i", "j"]))
    return st.lists(event, min_size=len(ids), max_size=len(ids)).map(
        lambda drawn: [
            Event("ann", item, time, service, "view", 1.0, id)
            for id, (time, service, item) in zip(ids, drawn, strict=True)
        ]
    )


ids = st.lists(st.text("09Zaé😀", min_size=1, max_size=2), unique=True, max_size=14)
streams = ids.flatmap(distinct_events).flatmap(
    lambda events: st.permutations([*events, *events[: len(events) // 2]]) if events else st.just([])
)


@settings(deadline=None)
@given(streams, st.integers(1, 4))
def test_any_order_with_duplicates_ends_in_the_last_events_of_each_service(stream: list[Event], length: int) -> None:
    history = empty()
    for position, event in enumerate(stream, start=1):
        history.fold(event, position, length)
    assert lists(history) == reference(stream, length)


@settings(deadline=None)
@given(streams, st.integers(1, 3), st.data())
def test_beginning_again_from_an_earlier_position_changes_nothing(
    stream: list[Event], length: int, data: st.DataObject
) -> None:
    history = empty()
    for position, event in enumerate(stream, start=1):
        history.fold(event, position, length)
    before, at = {name: list(values) for name, values in lists(history).items()}, history.position
    again = data.draw(st.integers(0, len(stream)))
    assert not any(history.fold(e, p, length) for p, e in enumerate(stream[again:], start=again + 1))
    assert (lists(history), history.position) == (before, at)


@settings(deadline=None)
@given(streams, st.integers(1, 3))
def test_the_position_is_that_of_the_last_event_that_stays(stream: list[Event], length: int) -> None:
    """What leaves is pushed out by something that came later: the greatest position is of one that is there."""
    history, came = empty(), dict[str, int]()
    for position, event in enumerate(stream, start=1):
        came.setdefault(event.event_id, position)
        assert history.fold(event, position, length) == (history.position == position)
    assert history.position == max((came[id] for id in history.event_ids), default=0)


def test_one_that_is_too_old_leaves_all_as_it_was() -> None:
    history = empty()
    for time in (5, 6):
        assert history.fold(Event("ann", "i", time, "a", "view", 1.0, str(time)), time, 2)
    assert not history.fold(Event("ann", "i", 4, "a", "view", 1.0, "4"), 7, 2)
    assert history.fold(Event("ann", "i", 4, "b", "view", 1.0, "4b"), 8, 2)  # another service has room
    assert not history.fold(Event("ann", "i", 5, "a", "view", 1.0, "3"), 9, 2)  # tied, but its id is smaller
    assert history.fold(Event("ann", "i", 5, "a", "view", 1.0, "51"), 10, 2)
    assert (history.event_ids, history.services, history.position) == (["4b", "51", "6"], ["b", "a", "a"], 10)


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_fold_of_a_whole_log(seed: int, log: EventLog, write: Write) -> None:
    """Some hundreds of events of a few users, with ties and ids that only bytes can order, against DuckDB's fold."""
    rng = np.random.default_rng(seed)
    users, hour = ["ann", "bob", "zoë"], 3_600_000_000
    start = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    events = [
        Event(
            user_id=users[rng.integers(3)],
            item_id=f"i{rng.integers(20)}",
            event_time=start + int(rng.integers(40)) * hour,
            service=["music", "Shop", "été"][rng.integers(3)],
            action=["view", "play"][rng.integers(2)],
            weight=float(np.float32(rng.random())),
            event_id="aZ9é😀"[rng.integers(5)] * int(rng.integers(1, 3)) + str(n),
        )
        for n in range(400)
    ]
    table = pa.Table.from_pylist([event._asdict() for event in events])
    table = table.set_column(2, "event_time", table["event_time"].cast(TIME))
    assert ingest(log, write("events.parquet", table), now=NOW).events.accepted == 400
    folded = whole(log)

    stream = [events[n] for n in rng.permutation(np.concatenate([np.arange(400), rng.integers(0, 400, 200)]))]
    histories = {user: empty(user) for user in users}
    for position, event in enumerate(stream, start=1):
        histories[event.user_id].fold(event, position, log.settings.history_length)
    assert {user: lists(history) for user, history in histories.items()} == folded
    assert all(len(kept["event_ids"]) == 3 * log.settings.history_length for kept in folded.values())


def whole(log: EventLog) -> dict[str, dict[str, list[Any]]]:
    """Each user's lists as the batch has them."""
    manifest = log.manifest()
    given = FoldInput(
        home=log.home,
        events=manifest.segments_of(SegmentKind.EVENTS),
        users=manifest.segments_of(SegmentKind.USERS),
        profile_schema=profile_schema(log),
        history_length=log.settings.history_length,
        as_of=NOW,
        computed_at=NOW,
    )
    with log.duck() as duck:
        histories = fold(duck, given).histories
    return {row["user_id"]: {name: row[name] for name in LISTS} for row in histories.to_pylist()}
