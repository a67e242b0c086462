"""JSON records: judged like rows of a file, in the same words, and without exceptions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.known_columns import Columns, KnownColumns
from portrait.feature_repo.ingest.record_fields import ID_BYTES, TEXT_BYTES
from portrait.feature_repo.ingest.records import RecordJudge, RejectedRecord
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import ArrivingRecord
from portrait.feature_repo.log.manifest import ITEMS_BUCKET, SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.schemas import from_microseconds, microseconds
from tests.feature_repo.conftest import Write
from tests.feature_repo.ingest.fixed_columns import FixedColumns

FURTHER = {"age": "BIGINT", "country": "VARCHAR", "paying": "BOOLEAN", "score": "DOUBLE", "seen": "TIMESTAMPTZ"}


JUDGE = RecordJudge(FixedColumns(FURTHER, {"vector_image": 3}))
EVENT = {"user_id": "ann", "item_id": "song", "event_time": "2024-01-02T03:04:05Z"}


def judged(kind: SegmentKind, *records: object) -> list[ArrivingRecord | RejectedRecord]:
    return list(JUDGE.judge(kind, records))


def payload(kind: SegmentKind, record: object) -> Any:
    (arriving,) = judged(kind, record)
    assert isinstance(arriving, ArrivingRecord), arriving
    return orjson.loads(arriving.payload)


def reason(kind: SegmentKind, record: object) -> str:
    (rejected,) = judged(kind, record)
    assert isinstance(rejected, RejectedRecord), rejected
    return rejected.reason


def test_an_event_with_every_field() -> None:
    record = EVENT | {"service": "music", "action": "play", "weight": 0.1, "event_id": "e1"}
    (arriving,) = judged(SegmentKind.EVENTS, record)
    text = '["ann","song",1704164645000000,"music","play",0.10000000149011612,"e1"]'
    assert arriving == ArrivingRecord(SegmentKind.EVENTS, bucket_of("ann"), text, "ann", "e1")


def test_an_event_with_what_it_needs() -> None:
    bare = payload(SegmentKind.EVENTS, EVENT)
    assert bare[:6] == ["ann", "song", 1704164645000000, "default", "view", 1.0]
    blank = {"service": " ", "action": None, "weight": None, "event_id": ""}
    assert payload(SegmentKind.EVENTS, EVENT | blank) == bare
    assert payload(SegmentKind.EVENTS, EVENT | {"user_id": 7})[0] == "7"  # whole numbers are text, as in files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-02T03:04:05", 1704164645000000),
        ("2024-01-02 03:04:05+00:00", 1704164645000000),
        ("2024-01-02T04:04:05.5+01:00", 1704164645500000),
        ("2024-01-02T03:04:05.123456789Z", 1704164645123456),
        ("2024-01-02", 1704153600000000),
        ("1900-01-01T00:00:00Z", -2208988800000000),
    ],
)
def test_times_with_and_without_a_zone(text: str, expected: int) -> None:
    assert payload(SegmentKind.EVENTS, EVENT | {"event_time": text})[2] == expected


def test_a_clock_may_be_a_little_ahead() -> None:
    def in_seconds(seconds: float) -> dict[str, str]:
        return EVENT | {"event_time": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()}

    payload(SegmentKind.EVENTS, in_seconds(2))
    assert reason(SegmentKind.EVENTS, in_seconds(60)) == "event_time lies in the future"
    assert all(isinstance(one, ArrivingRecord) for one in JUDGE.judge(SegmentKind.EVENTS, [in_seconds(60)], skew=90))


def test_a_clock_that_runs_ahead_is_clamped_where_the_settings_say_so() -> None:
    before = datetime.now(UTC)
    given = EVENT | {"event_time": (before + timedelta(hours=1)).isoformat()}
    (one,) = RecordJudge(FixedColumns({}, {}), ahead=60, clamps=True).judge(SegmentKind.EVENTS, [given])
    assert isinstance(one, ArrivingRecord) and one.clamped
    kept = from_microseconds(orjson.loads(one.payload)[2])
    assert before <= kept <= datetime.now(UTC)
    (later,) = RecordJudge(FixedColumns({}, {}), ahead=4000).judge(SegmentKind.EVENTS, [given])
    assert isinstance(later, ArrivingRecord) and not later.clamped
    assert orjson.loads(later.payload)[2] == microseconds(before + timedelta(hours=1))
    assert later.event_id == one.event_id  # made of what was given, whenever it arrives
    past = RecordJudge(FixedColumns({}, {}), clamps=True).judge(SegmentKind.EVENTS, [EVENT])
    assert next(past) == judged(SegmentKind.EVENTS, EVENT)[0]


BAD_EVENTS = [
    ({"user_id": None}, "user_id is null or empty"),
    ({"item_id": "\t "}, "item_id is null or empty"),
    ({"event_time": ""}, "event_time is null or empty"),
    ({"event_time": "yesterday"}, "event_time is not a time"),
    ({"event_time": "2024-02-30"}, "event_time is not a time"),
    ({"event_time": "1899-12-31T23:59:59Z"}, "event_time lies before 1900"),
    ({"event_time": "2400-01-01"}, "event_time lies in the future"),
    ({"weight": 3.5e38}, "weight is not finite"),
]


@pytest.mark.parametrize(("change", "why"), BAD_EVENTS)
def test_a_bad_event_is_told_in_the_words_of_file_ingest(
    log: EventLog, write: Write, change: dict[str, object], why: str
) -> None:
    record = EVENT | change
    assert reason(SegmentKind.EVENTS, record) == why
    report = ingest(log, write("e.parquet", [EVENT | {"weight": 1.0}, {"weight": 1.0} | record]))
    assert report.events is not None and report.events.rejected == {why: 1}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user_id": ["ann"]}, "user_id is not text"),
        ({"user_id": True}, "user_id is not text"),
        ({"item_id": 1.5}, "item_id is not text"),
        ({"item_id": 2**64}, "item_id is not text"),
        ({"user_id": "a\0b"}, "user_id holds a NUL character"),
        ({"user_id": "\ud800"}, "user_id is not valid Unicode"),
        ({"event_id": "ü" * (ID_BYTES // 2) + "x"}, "event_id is longer than 1,024 bytes"),
        ({"event_time": 1704164645}, "event_time is not a time"),
        ({"event_time": "20240102"}, "event_time is not a time"),
        ({"event_time": "２０２４-01-02"}, "event_time is not a time"),
        ({"weight": "2"}, "weight is not a number"),
        ({"weight": True}, "weight is not a number"),
        ({"weight": float("nan")}, "weight is not finite"),
        ({"weight": 10**400}, "weight is not finite"),
        ({"when": "now"}, "an event has no field `when`; its fields are user_id, item_id, event_time, service"),
    ],
)  # fmt: skip
def test_a_bad_event_that_no_file_could_hold(change: dict[str, object], why: str) -> None:
    assert reason(SegmentKind.EVENTS, EVENT | change).startswith(why)


@pytest.mark.parametrize("kind", SegmentKind)
@pytest.mark.parametrize("record", [None, 7, "ann", [], [EVENT], True])
def test_what_is_no_record(kind: SegmentKind, record: object) -> None:
    assert reason(kind, record) == "a record is a JSON object"


def test_an_event_has_the_same_id_from_a_file(log: EventLog, write: Write) -> None:
    events = [
        EVENT,
        EVENT,
        EVENT | {"weight": 2.0},
        EVENT | {"user_id": "ü🦄", "event_time": "2024-01-02T03:04:05.123456", "service": "", "weight": -0.0},
        EVENT | {"user_id": "ü🦄", "action": "play", "weight": 183.2837},
        EVENT | {"user_id": "7", "weight": 97474820.0},
        EVENT | {"user_id": " 7", "weight": 1e-30},
        EVENT | {"event_id": "own"},
    ]
    columns = ("user_id", "item_id", "event_time", "service", "action", "weight", "event_id")
    ingest(log, write("e.parquet", [{column: event.get(column) for column in columns} for event in events]))
    with log.duck() as duck:
        paths = [str(log.home / segment.path) for segment in log.manifest().segments_of(SegmentKind.EVENTS)]
        logged = {row[0] for row in duck.execute("SELECT event_id FROM read_parquet(?)", [paths]).fetchall()}
    assert len(logged) == len(events)
    assert {arriving.event_id for arriving in judged(SegmentKind.EVENTS, *events)} == logged  # type: ignore[union-attr]


def test_a_user_brings_only_what_was_given_in_one_order() -> None:
    full = {
        "seen": "2024-01-01", "score": 2, "paying": True, "country": "Chad", "age": 30,
        "onboarding_items": ["a", None, " ", 7], "created_time": "2024-01-01T00:00:00Z", "user_id": "ann",
    }  # fmt: skip
    (arriving,) = judged(SegmentKind.USERS, full)
    moment = 1704067200000000
    text = (
        f'{{"user_id":"ann","created_time":{moment},"onboarding_items":["a","7"],"age":30,"country":"Chad",'
        f'"paying":true,"score":2.0,"seen":{moment}}}'
    )
    assert arriving == ArrivingRecord(SegmentKind.USERS, bucket_of("ann"), text, "ann")
    assert payload(SegmentKind.USERS, {"user_id": "ann", "age": None}) == {"user_id": "ann", "age": None}
    assert payload(SegmentKind.USERS, {"user_id": "ann", "country": " "}) == {"user_id": "ann", "country": None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user_id": ""}, "user_id is null or empty"),
        ({"created_time": "soon"}, "created_time is not a time"),
        ({"created_time": "2400-01-01"}, "created_time lies in the future"),
        ({"onboarding_items": "a|b"}, "onboarding_items is no list"),
        ({"onboarding_items": [["a"]]}, "onboarding_items is no list of text"),
        ({"onboarding_items": ["a"] * 1001}, "onboarding_items has 1,001 parts, more than 1,000"),
        ({"age": 1.5}, "age is not a whole number of 64 bits"),
        ({"age": 2**63}, "age is not a whole number of 64 bits"),
        ({"age": True}, "age is not a whole number of 64 bits"),
        ({"country": 5}, "country is not text"),
        ({"country": "x" * (TEXT_BYTES + 1)}, "country is longer than 65,536 bytes"),
        ({"paying": 1}, "paying is not true or false"),
        ({"score": "high"}, "score is not a number"),
        ({"score": float("inf")}, "score is not finite"),
        ({"seen": 5}, "seen is not a time"),
    ],
)
def test_a_bad_user(change: dict[str, object], why: str) -> None:
    assert reason(SegmentKind.USERS, {"user_id": "ann"} | change) == why


def test_an_unknown_column_names_the_known_ones_and_the_way_to_a_new_one() -> None:
    assert reason(SegmentKind.USERS, {"user_id": "ann", "plan": "gold"}) == (
        "a user has no field `plan`; its fields are user_id, created_time, onboarding_items, age, country, paying, "
        "score, seen; `portrait ingest --users FILE` with such a column brings a new one"
    )
    assert "vector_image; `portrait ingest --items FILE`" in reason(
        SegmentKind.ITEMS, {"item_id": "a", "vector_sound": [1]}
    )


def test_an_item_brings_only_what_was_given() -> None:
    (arriving,) = judged(
        SegmentKind.ITEMS, {"vector_image": [1, 0.1, -0.0], "tags": ["x", ""], "text": "T", "item_id": "a"}
    )
    text = '{"service":"default","item_id":"a","text":"T","tags":["x"],"vector_image":[1.0,0.10000000149011612,0.0]}'
    assert arriving == ArrivingRecord(SegmentKind.ITEMS, ITEMS_BUCKET, text)
    assert payload(SegmentKind.ITEMS, {"service": "m", "item_id": 5}) == {"service": "m", "item_id": "5"}
    assert payload(SegmentKind.ITEMS, {"item_id": "a", "vector_image": None})["vector_image"] is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"item_id": None}, "item_id is null or empty"),
        ({"tags": "rock"}, "tags is no list"),
        ({"vector_image": [1, 2]}, "vector_image has another length than 3"),
        ({"vector_image": [1, 2, "3"]}, "vector_image is no list of numbers"),
        ({"vector_image": [1, 2, None]}, "vector_image is no list of numbers"),
        ({"vector_image": [1, 2, 1e39]}, "vector_image is not finite"),
        ({"vector_image": "x"}, "vector_image is no list of numbers"),
    ],
)
def test_a_bad_item(change: dict[str, object], why: str) -> None:
    assert reason(SegmentKind.ITEMS, {"item_id": "a"} | change) == why


def test_bad_records_do_not_touch_the_others() -> None:
    found = judged(SegmentKind.EVENTS, EVENT, None, EVENT, {}, EVENT)
    assert [isinstance(one, ArrivingRecord) for one in found] == [True, False, True, False, True]
    assert len({one.event_id for one in found if isinstance(one, ArrivingRecord)}) == 3


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    [*EVENT, "service", "action", "weight", "event_id", "created_time", "onboarding_items", "text", "tags",
     "vector_image", *FURTHER]
)  # fmt: skip


@given(st.sampled_from(SegmentKind), st.dictionaries(names | st.text(), json) | json)
def test_it_never_raises(kind: SegmentKind, record: object) -> None:
    (one,) = judged(kind, record)
    if isinstance(one, ArrivingRecord):
        assert orjson.loads(one.payload)
    else:
        assert one.reason


ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200).filter(
    lambda text: text.strip(" \t\r\n") != ""
)
moments = st.datetimes(datetime(1900, 1, 1), datetime(2024, 1, 1))


@given(ids, ids, moments, ids, ids, st.floats(width=32, allow_nan=False, allow_infinity=False), ids)
def test_a_good_event_always_comes_through(
    user: str, item: str, moment: datetime, service: str, action: str, weight: float, event_id: str
) -> None:
    record = {"user_id": user, "item_id": item, "event_time": moment.isoformat() + "Z", "service": service}
    record |= {"action": action, "weight": weight, "event_id": event_id}
    time = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    (arriving,) = judged(SegmentKind.EVENTS, orjson.loads(orjson.dumps(record)))
    assert isinstance(arriving, ArrivingRecord)
    assert orjson.loads(arriving.payload) == [user, item, time, service, action, weight, event_id]
    assert (arriving.user_id, arriving.bucket) == (user, bucket_of(user))
    assert judged(SegmentKind.EVENTS, record) == [arriving]


def test_columns_follow_the_files(log: EventLog, write: Write) -> None:
    known = KnownColumns(log, seconds=0)
    assert known.stale and known.current == Columns({}, {})
    users = write("u.parquet", [{"user_id": "ann", "country": "Chad", "age": 3}])
    items = write("i.parquet", [{"item_id": "a", "vector_image": None}, {"item_id": "b", "vector_image": [1.0, 2.0]}])
    ingest(log, None, items, users)
    assert known.current == Columns({}, {})
    known.refresh()
    assert known.current == Columns({"age": "BIGINT", "country": "VARCHAR"}, {"vector_image": 2})
    slow = KnownColumns(log, seconds=1000)
    slow.refresh()
    assert not slow.stale
    (one,) = RecordJudge(known).judge(SegmentKind.USERS, [{"user_id": "bob", "country": "Mali"}])
    assert isinstance(one, ArrivingRecord)


def test_columns_stay_while_the_registry_is_away(log: EventLog) -> None:
    known = KnownColumns(log, seconds=0)
    known.refresh()
    log.database.close()
    database = log.home / "registry.db"
    database.rename(log.home / "gone")
    known.refresh()
    assert known.current == Columns({}, {})
    with pytest.raises(Exception, match="registry"):
        _ = KnownColumns(log).current
    (log.home / "gone").rename(database)
