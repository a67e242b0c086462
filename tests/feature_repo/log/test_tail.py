"""The tail of the log: every row once, in inbox or segment, and no position is skipped."""

import itertools
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.seal import seal
from portrait.feature_repo.log import tail
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import ForgottenRow
from portrait.feature_repo.log.tail import LogRow, Tail, read_tail
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database
from tests.feature_repo.conftest import NOW, Write
from tests.feature_repo.conftest import event as file_row
from tests.feature_repo.ingest.test_seal import DAY, event, item, user

ANN = bucket_of("ann")
OF_BUCKET = {bucket_of(name): name for name in map(str, range(400))}
"""A user of each bucket."""


@pytest.fixture
def log(database_url: str, home: Path) -> Iterator[EventLog]:
    """An empty log on each database."""
    home.mkdir()
    database = Database(database_url)
    yield EventLog(database, FeatureSettings(home=home, history_length=4))
    database.close()


def read(log: EventLog, after: Mapping[int, int], most: int = 100) -> Tail:
    return read_tail(log.database, log.home, after, most)


def said(rows: list[LogRow]) -> list[tuple[int, str]]:
    """Position and event id, or the user of a profile change."""
    return [
        (row.position, row.content[6] if row.kind == SegmentKind.EVENTS else row.content["user_id"]) for row in rows
    ]


def accept(log: EventLog, *records: ArrivingRecord) -> None:
    assert log.inbox.accept(records) == [InboxOutcome.ACCEPTED] * len(records)


def test_rows_of_the_inbox_come_in_the_order_of_their_positions(log: EventLog) -> None:
    accept(log, event("ann", "x", 3, "1"), user("ann", country="SE"), event("ann", "y", 1, "2"))
    found = read(log, {ANN: 0})
    assert said(found.rows) == [(1, "1"), (2, "ann"), (3, "2")]
    assert (found.up_to, found.large, found.backlog) == ({ANN: 3}, {}, {ANN: 3})
    first, second, _ = found.rows
    assert first.content == ["ann", "x", DAY + 2 * 86_400_000_000, "default", "view", 1.0, "1"]
    assert second.content == {"user_id": "ann", "country": "SE"}
    assert first.user_id == second.user_id == "ann" and first.accepted_at > DAY
    assert said(read(log, {ANN: 2}).rows) == [(3, "2")]
    assert read(log, {ANN: 3}) == Tail([], {}, {}, {}, items=0)


def test_only_the_buckets_asked_for_and_never_items(log: EventLog) -> None:
    other = next(bucket for bucket in OF_BUCKET if bucket != ANN)
    accept(log, event("ann", "x", 1, "1"), event(OF_BUCKET[other], "x", 1, "2"), item("x", text="new"))
    assert said(read(log, {other: 0}).rows) == [(1, "2")]
    assert ITEMS_BUCKET not in read(log, {other: 0, ANN: 0}).up_to


def test_what_was_sealed_before_it_was_read_is_read_from_there(log: EventLog) -> None:
    records = [
        event("ann", "x", 3, "1"),
        event("ann", "y", 1, "2"),
        user("ann", created_time=DAY),
        event("ann", "z", 2, "3"),
    ]
    accept(log, *records)
    from_inbox = read(log, {ANN: 1})
    assert seal(log, (ANN,)).kept == 4
    accept(log, event("ann", "w", 4, "4"))
    found = read(log, {ANN: 1})
    assert said(found.rows) == [(2, "2"), (3, "ann"), (4, "3"), (5, "4")]
    assert found.up_to == {ANN: 5}
    events = [row.content for row in found.rows if row.kind == SegmentKind.EVENTS]
    assert events[:2] == [row.content for row in from_inbox.rows if row.kind == SegmentKind.EVENTS]
    (profile,) = (row.content for row in found.rows if row.kind == SegmentKind.USERS)
    assert profile == {
        "user_id": "ann",
        "created_time": DAY,
        "onboarding_items": None,
    }  # whole: null where it has nothing


def test_a_small_file_comes_row_by_row_and_a_large_one_as_its_end(
    log: EventLog, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(log, event("ann", "x", 1, "1"))
    ingest(
        log,
        write("few.parquet", [file_row("ann", "y", 2, event_id="2"), file_row("ann", "z", 3, event_id="3")]),
        now=NOW,
    )
    found = read(log, {ANN: 0})
    assert said(found.rows) == [(1, "1"), (2, "2"), (3, "3")]
    assert found.rows[1].content == ["ann", "y", DAY + 86_400_000_000, "default", "view", 1.0, "2"]

    monkeypatch.setattr(tail, "FEW_ROWS", 1)
    bob = bucket_of("bob")
    accept(log, event("ann", "w", 4, "4"), event("bob", "w", 4, "5"))
    found = read(log, {ANN: 0, bob: 0})
    assert (said(found.rows), found.up_to, found.large) == ([(1, "5")], {bob: 1}, {ANN: 4})
    found = read(log, {ANN: 3})  # its segments are behind: row by row again
    assert (said(found.rows), found.up_to, found.large) == ([(4, "4")], {ANN: 4}, {})


def test_positions_of_duplicates_are_holes_that_are_passed(log: EventLog, write: Write) -> None:
    ingest(log, write("events.parquet", [file_row("ann", "x", 1, event_id="1")]), now=NOW)
    accept(log, event("ann", "x", 1, "1"), event("ann", "y", 2, "2"), event("ann", "x", 1, "1b"))
    assert [position for position, _ in said(read(log, {ANN: 0}).rows)] == [1, 2, 3, 4]
    assert seal(log).kept == 2
    accept(log, event("ann", "x", 1, "1"))
    seal(log)
    assert said(read(log, {ANN: 0}).rows) == [(1, "1"), (3, "2"), (4, "1b")]
    found = read(log, {ANN: 4})  # nothing is left of what came last: the bucket is known up to there nevertheless
    assert (found.rows, found.up_to) == ([], {ANN: 5})


def test_a_limit_leaves_the_rest_to_the_next_turn(log: EventLog) -> None:
    accept(log, *(event("ann", "x", 1, str(n)) for n in range(10)))
    seal(log)
    accept(log, *(event("ann", "x", 1, str(n)) for n in range(10, 25)))
    seen, after, backlogs = [], 0, []
    while (found := read(log, {ANN: after}, most=4)).up_to:
        assert len(found.rows) <= 4
        seen += said(found.rows)
        backlogs.append(found.backlog[ANN])
        after = found.up_to[ANN]
    assert seen == [(n + 1, str(n)) for n in range(25)]
    assert backlogs[0] == 25 and backlogs == sorted(backlogs, reverse=True)


def test_buckets_have_their_turn_in_the_order_given(log: EventLog) -> None:
    """A little of a quiet bucket is not kept waiting by the many rows of the others, whatever their numbers."""
    low, middle, high = sorted(OF_BUCKET)[:3]
    accept(log, *(event(OF_BUCKET[b], "x", 1, f"{b}-{n}") for b in (low, middle) for n in range(40)))
    accept(log, event(OF_BUCKET[high], "x", 1, "little"))
    after = {high: 0, low: 0, middle: 0}
    found = read(log, after, most=10)
    assert "little" in [event_id for _, event_id in said(found.rows)]
    turns = []
    for _ in range(30):
        found = read(log, after, most=10)
        for bucket, position in found.up_to.items():
            del after[bucket]
            after[bucket] = position
        turns.append(set(found.up_to) - {high})
    assert after == {high: 1, low: 40, middle: 40}
    assert all(one | other == {low, middle} for one, other in itertools.pairwise(turns[:5]))


@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_ever_passed_over(seed: int, log: EventLog, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepting, sealing, files and reading in any order: each row that the log holds in the end was delivered."""
    monkeypatch.setattr(tail, "FEW_ROWS", 6)
    rng = np.random.default_rng(seed)
    buckets = sorted(OF_BUCKET)[:4]
    after = dict.fromkeys(buckets, 0)
    delivered: set[tuple[int, int]] = set()
    ids = 0
    for step in range(40):
        what = rng.choice(["accept", "accept", "seal", "file", "read", "read"])
        if what == "accept":
            some = rng.choice(buckets, rng.integers(1, 8))
            again = rng.integers(0, max(ids, 1), 2)  # known ones, which leave holes
            records = [event(OF_BUCKET[b], "x", 1, f"{b}/{ids + n}") for n, b in enumerate(some)]
            records += [
                event(OF_BUCKET[b], "x", 1, f"{b}/{n}") for b, n in zip(rng.choice(buckets, 2), again, strict=True)
            ]
            log.inbox.accept([*records, user(OF_BUCKET[some[0]], created_time=DAY + step % 3)])
            ids += len(some)
        elif what == "seal":
            seal(log, None if rng.random() < 0.3 else rng.choice(buckets, 2).tolist())
        elif what == "file":
            bucket, rows = rng.choice(buckets), rng.integers(1, 12)
            content = [file_row(OF_BUCKET[bucket], "x", 1, event_id=f"{bucket}/{ids + n}") for n in range(rows)]
            ingest(log, write(f"{step}.parquet", content), now=NOW)
            ids += int(rows)
        else:
            take(log, after, delivered, int(rng.integers(1, 9)))
    while take(log, after, delivered, 5):
        pass
    seal(log)
    held = in_segments(log)
    assert held <= delivered and len(held) > 30
    ends = log.manifest().next_positions
    assert after == {bucket: ends.get(bucket, 1) - 1 for bucket in buckets}


def take(log: EventLog, after: dict[int, int], delivered: set[tuple[int, int]], most: int) -> bool:
    """One reading: rows lie beyond what was asked for and up to what is claimed, once each."""
    found = read(log, after, most)
    places = [(row.bucket, row.position) for row in found.rows]
    assert places == sorted(set(places)) and not found.up_to.keys() & found.large.keys()
    assert all(after[bucket] < position <= found.up_to[bucket] for bucket, position in places)
    for bucket, end in found.large.items():
        delivered |= {(bucket, position) for position in range(after[bucket] + 1, end + 1)}
    delivered |= set(places)
    for bucket, end in (found.up_to | found.large).items():
        assert end > after.pop(bucket)
        after[bucket] = end
    return bool(found.up_to or found.large)


def in_segments(log: EventLog) -> set[tuple[int, int]]:
    """Bucket and position of each row that the log keeps."""
    manifest, held = log.manifest(), set[tuple[int, int]]()
    with log.duck() as duck:
        for kind in (SegmentKind.EVENTS, SegmentKind.USERS):
            rows: Any = rows_of(log.home, manifest.segments_of(kind), {"user_id": "VARCHAR"})
            found = duck.execute(f"SELECT user_id, position FROM {rows}").fetchall()
            held |= {(bucket_of(user_id), position) for user_id, position in found}
    return held


def test_rows_of_forgotten_users_are_left_out(log: EventLog) -> None:
    """From the moment of the tombstone, wherever the rows still lie: in the inbox or in a segment."""
    other = next(name for name in map(str, range(1000)) if bucket_of(name) == ANN)
    accept(log, event("ann", "x", 1, "1"), event(other, "x", 1, "2"))
    seal(log)
    accept(log, event("ann", "x", 2, "3"), event(other, "x", 2, "4"))
    with log.database.transaction() as session:
        session.add(ForgottenRow(digest=log.forgotten.digest("ann"), asked_at=datetime.now(UTC), report={}))
    assert len(read(log, {ANN: 0}).rows) == 4
    found = read_tail(log.database, log.home, {ANN: 0}, 100, log.forgotten)
    assert (said(found.rows), found.up_to) == ([(2, "2"), (4, "4")], {ANN: 4})
