"""Event windows: half-open, complete, in order, and only the events that are asked for."""

from datetime import UTC, datetime

import pytest

from portrait.feature_repo.history.event_window import WINDOW, events_between
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from tests.feature_repo.conftest import NOW, Write, event


@pytest.fixture
def days(log: EventLog, write: Write) -> EventLog:
    """Ten events of a user, one a day: more than a history of this log holds; and some that differ."""
    usual = {"action": "view", "weight": 1.0, "service": "default"}
    rows = [event("u", f"i{day}", day, **usual) for day in range(1, 11)]
    rows += [
        event("v", "returned", 5, **{**usual, "action": "return", "weight": 2.0}),
        event("v", "free", 5, **{**usual, "weight": 0.0}),
        event("v", "read", 5, **{**usual, "service": "books"}),
    ]
    ingest(log, events=write("events.parquet", rows), now=NOW)
    return log


def day(number: int) -> datetime:
    return datetime(2024, 1, number, tzinfo=UTC)


def test_a_window_is_half_open_and_longer_than_a_history(days: EventLog) -> None:
    found = events_between(days, day(2), day(9))
    assert found.schema == WINDOW
    mine = [
        item
        for user, item in zip(*found.select(["user_id", "item_id"]).to_pydict().values(), strict=True)
        if user == "u"
    ]
    assert mine == [f"i{number}" for number in range(2, 9)]


def test_sides_may_be_open(days: EventLog) -> None:
    assert events_between(days, None, None).num_rows == 13
    assert events_between(days, day(10), None)["item_id"].to_pylist() == ["i10"]
    assert events_between(days, None, day(2))["item_id"].to_pylist() == ["i1"]


@pytest.mark.parametrize(
    ("chosen", "items"),
    [
        ({"actions": ["view"]}, {"i5", "free", "read"}),
        ({"actions": ["return"]}, {"returned"}),
        ({"services": ["books"]}, {"read"}),
        ({"weight_above": 0.0}, {"i5", "returned", "read"}),
        ({"weight_above": 1.0}, {"returned"}),
    ],
)
def test_only_some_count(days: EventLog, chosen: dict[str, object], items: set[str]) -> None:
    found = events_between(days, day(5), day(6), **chosen)  # type: ignore[arg-type]
    assert set(found["item_id"].to_pylist()) == items
