"""The inbox on both databases: every accepted record once, in its bucket's next position."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from portrait.feature_repo.log.forgotten import KEY_FILE, Forgotten
from portrait.feature_repo.log.inbox import ArrivingRecord, Inbox, InboxOutcome, Within, newest_in_inbox
from portrait.feature_repo.log.manifest import SegmentKind, read_manifest
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.tables import ForgottenRow, InboxRow
from portrait.feature_repo.schemas import from_microseconds
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict

ACCEPTED, KNOWN, TAKEN, FORGOTTEN, DELETED = InboxOutcome


def event(user: str, event_id: str, item: str = "song") -> ArrivingRecord:
    payload = f'["{user}","{item}",1,"default","view",1.0,"{event_id}"]'
    return ArrivingRecord(SegmentKind.EVENTS, bucket_of(user), payload, user, event_id)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def inbox(database: Database, tmp_path: Path) -> Inbox:
    return Inbox(database, Forgotten(tmp_path))


def rows(database: Database) -> list[tuple[int, int, str | None]]:
    with database.reading() as session:
        found = select(InboxRow.bucket, InboxRow.position, InboxRow.event_id).order_by(InboxRow.bucket)
        return [(b, p, e) for b, p, e in session.execute(found.order_by(InboxRow.position))]


def test_positions_follow_each_other_within_a_bucket(inbox: Inbox, database: Database) -> None:
    assert inbox.accept([event("ann", "1"), event("ann", "2")]) == [ACCEPTED, ACCEPTED]
    assert inbox.accept([event("ann", "3")]) == [ACCEPTED]
    bucket = bucket_of("ann")
    assert rows(database) == [(bucket, 1, "1"), (bucket, 2, "2"), (bucket, 3, "3")]
    assert read_manifest(database).next_positions == {bucket: 4}


def test_an_event_is_accepted_once(inbox: Inbox, database: Database) -> None:
    assert inbox.accept([event("ann", "1"), event("ann", "1"), event("ann", "1", "other")]) == [ACCEPTED, KNOWN, TAKEN]
    assert inbox.accept([event("ann", "1"), event("bob", "1")]) == [KNOWN, TAKEN]
    assert rows(database) == [(bucket_of("ann"), 1, "1")]


def test_a_clamped_event_is_known_when_it_comes_again_with_a_later_time(database: Database, tmp_path: Path) -> None:
    inbox = Inbox(database, Forgotten(tmp_path), clamps=True)
    later = replace(event("ann", "1"), payload=event("ann", "1").payload.replace(",1,", ",2,"))
    assert inbox.accept([later]) == [ACCEPTED]
    latest = replace(later, payload=later.payload.replace(",2,", ",3,"))
    assert inbox.accept([latest, event("ann", "1"), event("ann", "1", "other")]) == [KNOWN, TAKEN, TAKEN]
    assert Inbox(database, Forgotten(tmp_path)).accept([latest]) == [TAKEN]


def test_nothing_of_a_forgotten_user_is_accepted(inbox: Inbox, database: Database, tmp_path: Path) -> None:
    with database.transaction() as session:
        session.add(ForgottenRow(digest=Forgotten(tmp_path).digest("ann"), asked_at=datetime.now(UTC), report={}))
    assert inbox.accept([event("ann", "1"), event("bob", "2")]) == [FORGOTTEN, ACCEPTED]
    assert [event_id for *_, event_id in rows(database)] == ["2"]


def test_what_is_done_within_commits_or_fails_with_the_rest(inbox: Inbox, database: Database) -> None:
    def fail_with(error: Exception) -> Within:
        def fail(_session: object, outcomes: Sequence[InboxOutcome]) -> None:
            seen.append(list(outcomes))
            raise error

        return fail

    seen: list[list[InboxOutcome]] = []
    for error in (RuntimeError("no"), Conflict("no")):
        with pytest.raises(type(error), match=r"^no$"):
            inbox.accept([event("ann", "1"), event("ann", "1")], fail_with(error))
    assert seen == [[ACCEPTED, KNOWN]] * 2  # and tried no second time
    assert rows(database) == []


def test_simultaneous_gateways_leave_no_gap_and_no_double(inbox: Inbox, database: Database) -> None:
    """Eight threads send overlapping batches over two buckets in different orders."""
    users = ["ann", next(u for u in map(str, range(99)) if bucket_of(u) != bucket_of("ann"))]
    batches = [[event(users[n % 2], str(n)) for n in range(start, start + 20)] for start in range(0, 80, 10)]
    batches = [batch[::-1] if i % 2 else batch for i, batch in enumerate(batches)]
    with ThreadPoolExecutor(8) as pool:
        outcomes = [one for many in pool.map(inbox.accept, batches) for one in many]
    assert outcomes.count(ACCEPTED) == 90 and outcomes.count(KNOWN) == 70
    found = rows(database)
    assert {event_id for *_, event_id in found} == set(map(str, range(90)))
    for bucket in map(bucket_of, users):
        assert [position for b, position, _ in found if b == bucket] == list(range(1, 46))


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    digest = Forgotten(tmp_path).digest("ann")
    assert Forgotten(tmp_path).digest("ann") == digest != Forgotten(tmp_path).digest("bob")
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_the_newest_event_of_the_inbox(inbox: Inbox, database: Database) -> None:
    assert newest_in_inbox(database) is None
    user = ArrivingRecord(SegmentKind.USERS, bucket_of("ann"), '{"user_id":"ann","created_time":9}', "ann")
    inbox.accept([user])
    assert newest_in_inbox(database) is None  # a sign-up is no event
    for id, time in (("1", 20), ("2", 1_700_000_000_000_001), ("3", -5)):
        payload = f'["ann","so\\u00e9 \\"x\\"",{time},"default","view",1.0,"{id}"]'
        inbox.accept([ArrivingRecord(SegmentKind.EVENTS, bucket_of("ann"), payload, "ann", id)])
    assert newest_in_inbox(database) == from_microseconds(1_700_000_000_000_001)
