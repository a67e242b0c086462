"""Intake from the broker into the inbox: exactly once, with a kill at any step, and nothing from a stale holder."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from portrait.feature_repo.broker import intake
from portrait.feature_repo.broker.broker import Broker
from portrait.feature_repo.broker.intake import IntakeReport, take_in, trim_behind
from portrait.feature_repo.broker.records import stream_record
from portrait.feature_repo.ingest.known_columns import Columns
from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome, read_inbox
from portrait.feature_repo.log.leases import Lease, Leases
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import BUCKETS, bucket_of
from portrait.feature_repo.log.tables import ForgottenRow, InboxRow
from portrait.registry.errors import LeaseLost, Unavailable
from tests.feature_repo.broker.twin import TwinBroker
from tests.feature_repo.ingest.fixed_columns import FixedColumns

COLUMNS = FixedColumns({"country": "VARCHAR"}, {"vector_image": 2})
JUDGE = RecordJudge(COLUMNS)


def event(user: str, id: str, **further: object) -> dict[str, object]:
    return {"kind": "events", "user_id": user, "item_id": "song", "event_time": "2024-01-02", "event_id": id} | further


def send(broker: Broker, *records: object, bucket: int | None = None) -> None:
    """Records as another program writes them, each to the stream of its user."""
    at = [bucket if bucket is not None else bucket_of(str(one.get("user_id"))) for one in records]  # type: ignore[attr-defined]
    broker.append([(b, orjson.dumps(record)) for b, record in zip(at, records, strict=True)])


def held(log: EventLog, owner: str = "shard") -> dict[int, Lease]:
    return Leases(log.database, owner).hold(BUCKETS, {})


def take_all(broker: Broker, log: EventLog, count: int = 500) -> list[IntakeReport]:
    """What a new holder takes in, until the streams are empty."""
    done: list[IntakeReport] = []
    leases = held(log)
    trim_behind(broker, leases)
    while (taken := take_in(broker, log, JUDGE, leases, count)).positions:
        done.append(taken)
        leases = {b: _at(lease, taken.positions.get(b, lease.stream_id)) for b, lease in leases.items()}
    return done


def _at(lease: Lease, position: str | None) -> Lease:
    return Lease(lease.bucket, lease.epoch, lease.applied, lease.applied_lazily, position)


def inbox(log: EventLog) -> list[tuple[int, str, Any]]:
    return [(row.bucket, row.kind.value, orjson.loads(row.payload)) for row in read_inbox(log.database, None, 10_000)]


def event_ids(log: EventLog) -> list[str]:
    return sorted(payload[6] for _, kind, payload in inbox(log) if kind == "events")


def rejects(log: EventLog) -> list[dict[str, Any]]:
    return [row for path in sorted((log.home / "rejects").glob("*")) for row in pq.read_table(path).to_pylist()]


def test_events_users_and_items_come_into_their_buckets(broker: Broker, log: EventLog) -> None:
    user = {"kind": "users", "user_id": "ann", "country": "Chad"}
    item = {"kind": "items", "item_id": "song", "vector_image": [1, 2]}
    send(broker, event("ann", "1"), event("bob", "2"), user)
    send(broker, event("ann", "3"), item, bucket=(bucket_of("ann") + 1) % BUCKETS)  # another stream than its own
    (taken,) = take_all(broker, log)
    assert (taken.outcomes, taken.rejected) == ({InboxOutcome.ACCEPTED: 5}, 0)
    assert event_ids(log) == ["1", "2", "3"]
    found = inbox(log)
    assert {bucket for bucket, _, payload in found if "ann" in payload} == {bucket_of("ann")}
    assert (bucket_of("ann"), "users", {"user_id": "ann", "country": "Chad"}) in found
    assert (ITEMS_BUCKET, "items", {"service": "default", "item_id": "song", "vector_image": [1.0, 2.0]}) in found
    assert [broker.length(bucket) for bucket in range(BUCKETS)] == [0] * BUCKETS


def test_what_the_gateway_appends_is_what_it_judged(broker: Broker, log: EventLog) -> None:
    records: list[tuple[SegmentKind, dict[str, object]]] = [
        (
            SegmentKind.EVENTS,
            {"user_id": "ann", "item_id": 7, "event_time": "2024-01-02T03:04:05.5+01:00", "weight": 0.1},
        ),
        (SegmentKind.USERS, {"user_id": "ann", "country": None, "created_time": "2024-01-01"}),
        (SegmentKind.ITEMS, {"item_id": "song", "text": "ü"}),
    ]
    judged = [one for kind, record in records for one in JUDGE.judge(kind, [record])]
    broker.append([stream_record(one, record) for one, (_, record) in zip(judged, records, strict=True)])  # type: ignore[arg-type]
    take_all(broker, log)
    expected = [
        (one.bucket, one.kind.value, orjson.loads(one.payload)) for one in judged if isinstance(one, ArrivingRecord)
    ]
    assert len(expected) == 3 and sorted(inbox(log), key=str) == sorted(expected, key=str)


def test_identical_events_of_two_requests_stay_two(broker: Broker, log: EventLog) -> None:
    """The gateway gives ids, so that reading one by one does not make one of them."""
    twice = [{key: value for key, value in event("ann", "").items() if key not in ("event_id", "kind")}] * 2
    judged = JUDGE.judge(SegmentKind.EVENTS, twice)
    broker.append([stream_record(one, record) for one, record in zip(judged, twice, strict=True)])  # type: ignore[arg-type]
    assert take_all(broker, log)[0].outcomes == {InboxOutcome.ACCEPTED: 2}


def test_duplicates_are_dropped_wherever_they_come(broker: Broker, log: EventLog) -> None:
    anonymous = event("ann", "")
    send(broker, event("ann", "1"), event("ann", "1"), anonymous)
    send(broker, event("ann", "1"), bucket=0)
    take_all(broker, log, count=1)
    send(broker, event("ann", "1"), anonymous)
    (taken,) = take_all(broker, log)
    assert taken.outcomes == {InboxOutcome.KNOWN: 2} and len(event_ids(log)) == 2


BAD: list[tuple[bytes, str]] = [
    (b"", "the record is not JSON"),
    (b"\xff\xfe", "the record is not JSON"),
    (b"[1]", "a record is a JSON object"),
    (b"{}", "kind is none of events, users, items"),
    (b'{"kind": ["events"]}', "kind is none of events, users, items"),
    (b'{"kind": "events", "user_id": "ann"}', "item_id is null or empty"),
    (b'{"kind": "users", "user_id": "ann", "plan": 1}', "a user has no field `plan`"),
]


def test_bad_records_are_kept_whole_and_block_nothing(broker: Broker, log: EventLog) -> None:
    send(broker, event("ann", "1"), bucket=3)
    broker.append([(3, record) for record, _ in BAD])
    send(broker, event("ann", "1", item_id="other"), event("ann", "2"), bucket=3)
    (taken,) = take_all(broker, log)
    assert event_ids(log) == ["1", "2"] and taken.rejected == len(BAD) + 1
    rows = rejects(log)
    assert [row["record"] for row in rows][: len(BAD)] == [r.decode(errors="backslashreplace") for r, _ in BAD]
    for row, (_, why) in zip(rows, BAD, strict=False):
        assert row["reason"].startswith(why)
    assert [row["user_id"] for row in rows] == [None] * 5 + ["ann"] * 3
    assert rows[-1]["reason"] == "event_id is known with another payload"
    assert len({(row["stream"], row["entry"]) for row in rows}) == len(rows)


def test_a_stream_of_bad_records_alone_goes_on(broker: Broker, log: EventLog) -> None:
    broker.append([(3, b"x")] * 5)
    assert [taken.rejected for taken in take_all(broker, log, count=2)] == [2, 2, 1]
    assert len(rejects(log)) == 5 and broker.length(3) == 0 and held(log)[3].stream_id is not None


class Killed(Exception):
    """The process ends here."""


def die(*_: object, **__: object) -> None:
    raise Killed


def die_after(work: Callable[..., object]) -> Callable[..., object]:
    def killed(*arguments: Any) -> None:
        work(*arguments)
        raise Killed

    return killed


DEATHS: dict[str, Callable[[pytest.MonkeyPatch, Broker], None]] = {
    "when they are read": lambda patch, broker: patch.setattr(broker, "read", die_after(broker.read)),
    "before the positions are noted": lambda patch, _: patch.setattr(intake, "_note", die),
    "before the bad ones are kept": lambda patch, _: patch.setattr(intake, "write_bad_entries", die),
    "before the commit": lambda patch, _: patch.setattr(intake, "_keep", die_after(intake._keep)),
    "before the streams are trimmed": lambda patch, broker: patch.setattr(broker, "trim", die),
    "after the streams were trimmed": lambda patch, broker: patch.setattr(broker, "trim", die_after(broker.trim)),
}


@pytest.mark.parametrize("death", DEATHS)
def test_whatever_dies_all_is_taken_in_once(broker: Broker, log: EventLog, death: str) -> None:
    """Among it a profile change, which nothing but the position keeps from being taken in twice."""
    user = {"kind": "users", "user_id": "ann", "country": "Chad"}
    send(broker, *(event(f"user-{number}", str(number)) for number in range(40)), user)
    broker.append([(3, b"bad"), (bucket_of("user-1"), b"bad too")])
    with pytest.MonkeyPatch.context() as patch:
        DEATHS[death](patch, broker)
        with pytest.raises(Killed):
            take_in(broker, log, JUDGE, held(log, "first"))
    send(broker, event("late", "late"))
    broker.append([(3, b"bad and late")])
    with log.database.transaction() as session:  # the dead one's lease has run out
        leases = Leases(log.database, "first")._locked(session)
        for lease in leases:
            lease.owner = None
    take_all(broker, log)
    assert event_ids(log) == sorted([*map(str, range(40)), "late"])
    assert [payload for _, kind, payload in inbox(log) if kind == "users"] == [{"user_id": "ann", "country": "Chad"}]
    assert sorted(row["record"] for row in rejects(log)) == ["bad", "bad and late", "bad too"]
    assert sum(map(broker.length, range(BUCKETS))) == 0


def test_who_has_lost_a_bucket_takes_nothing_in(broker: Broker, log: EventLog) -> None:
    stale = held(log, "first")
    with log.database.transaction() as session:
        Leases(log.database, "first")._locked(session)[bucket_of("ann")].owner = None
    held(log, "second")
    send(broker, event("ann", "1"), event("bob", "2"))
    with pytest.raises(LeaseLost, match=f"bucket {bucket_of('ann')} is in other hands"):
        take_in(broker, log, JUDGE, stale)
    assert inbox(log) == [] and not list((log.home / "rejects").glob("*")) and broker.length(bucket_of("ann")) == 1
    assert bucket_of("bob") != bucket_of("ann")


def test_a_broker_that_leaves_before_the_trim_is_trimmed_later(log: EventLog) -> None:
    broker = TwinBroker()
    send(broker, event("ann", "1"))
    trim = broker.trim

    def gone(*_: object) -> None:
        raise Unavailable("the broker does not answer")

    broker.trim = gone  # type: ignore[method-assign]
    taken = take_in(broker, log, JUDGE, held(log))
    assert taken.outcomes == {InboxOutcome.ACCEPTED: 1} and broker.length(bucket_of("ann")) == 1
    broker.trim = trim  # type: ignore[method-assign]
    send(broker, event("ann", "2"))
    take_all(broker, log)
    assert event_ids(log) == ["1", "2"] and broker.length(bucket_of("ann")) == 0


def test_of_forgotten_users_nothing_is_kept(broker: Broker, log: EventLog) -> None:
    with log.database.transaction() as session:
        session.add(ForgottenRow(digest=log.forgotten.digest("ann"), asked_at=datetime.now(UTC), report={}))
    send(broker, event("ann", "1"), event("ann", "2", weight="bad"), event("bob", "3"))
    taken = take_all(broker, log)
    assert sum(one.rejected for one in taken) == 0 and event_ids(log) == ["3"]
    assert not list((log.home / "rejects").glob("*")) and broker.length(bucket_of("ann")) == 0


def test_a_column_that_a_gateway_knows_is_looked_up_before_a_record_is_refused(broker: Broker, log: EventLog) -> None:
    columns = FixedColumns()
    columns.next = Columns({"plan": "VARCHAR"})
    send(broker, {"kind": "users", "user_id": "ann", "plan": "gold"})
    taken = take_in(broker, log, RecordJudge(columns), held(log))
    assert (taken.outcomes, taken.rejected) == ({InboxOutcome.ACCEPTED: 1}, 0)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=30), st.integers(1, 5), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_stream_in_any_batches_with_deaths(
    log: EventLog, sent: list[tuple[int, bool]], count: int, data: st.DataObject
) -> None:
    """Events with repeats over a few users, good and bad, taken in by holders that die before or after the commit."""
    broker = TwinBroker()
    with log.database.transaction() as session:
        session.execute(delete(InboxRow))
        for lease in Leases(log.database, "any")._locked(session):
            lease.stream_id, lease.owner = None, None
    for path in (log.home / "rejects").glob("*"):
        path.unlink()
    for number, good in sent:
        send(broker, event(f"user-{number % 3}", f"e{number}", **({} if good else {"weight": "bad"})))
    for death in data.draw(st.lists(st.sampled_from(["before the commit", "before the streams are trimmed"]))):
        with pytest.MonkeyPatch.context() as patch:
            DEATHS[death](patch, broker)
            try:
                take_in(broker, log, JUDGE, held(log), count)
            except Killed:
                continue
    take_all(broker, log, count)
    assert event_ids(log) == sorted({f"e{number}" for number, good in sent if good})
    assert len(rejects(log)) == sum(not good for _, good in sent)
