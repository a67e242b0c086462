"""Events, users and items over HTTP: the answers, and hostile input."""

import gzip
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient

from portrait.feature_repo.log.manifest import SegmentKind
from portrait.serving.api.arrivals import MAX_BODY, MOST
from portrait.serving.gateway.app import create_app
from tests.serving.api.api_table import EVENT
from tests.serving.conftest import SETTINGS, problem
from tests.serving.twins import Twins, twins


def events(count: int, **further: object) -> list[dict[str, object]]:
    return [EVENT | {"event_id": f"e{number}"} | further for number in range(count)]


def accepted(answer: Any, count: int, known: int = 0) -> None:
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"accepted": count, "known": known, "clamped": 0, "rejected": []}


def payloads(parts: Twins) -> list[Any]:
    return [orjson.loads(one.arriving.payload) for group in parts.inbox.groups for one in group]


def test_one_event(http: TestClient, parts: Twins) -> None:
    accepted(http.post("/v1/events", json=EVENT | {"event_id": "1"}), 1)
    assert payloads(parts) == [["ann", "song", 1714564800000000, "default", "view", 1.0, "1"]]


def test_as_many_as_a_request_may_have(http: TestClient, parts: Twins) -> None:
    accepted(http.post("/v1/events", json=events(MOST)), MOST)
    assert [len(group) for group in parts.inbox.groups] == [MOST]
    assert [payload[6] for payload in payloads(parts)] == [f"e{number}" for number in range(MOST)]
    body = problem(http.post("/v1/events", json=events(MOST + 1)), 413, "1,001 records", "several requests")
    assert body["limit"] == MOST and len(parts.inbox.groups) == 1


def test_users_and_items(http: TestClient, parts: Twins) -> None:
    accepted(http.post("/v1/users", json=[{"user_id": "ann", "country": "Chad"}, {"user_id": "bob", "age": None}]), 2)
    accepted(http.post("/v1/items", json={"item_id": "song", "vector_image": [1, 0.5]}), 1)
    assert payloads(parts) == [
        {"user_id": "ann", "country": "Chad"},
        {"user_id": "bob", "age": None},
        {"service": "default", "item_id": "song", "vector_image": [1.0, 0.5]},
    ]
    assert [one.arriving.kind for group in parts.inbox.groups for one in group] == [
        SegmentKind.USERS,
        SegmentKind.USERS,
        SegmentKind.ITEMS,
    ]


def test_sent_twice_is_known(http: TestClient) -> None:
    accepted(http.post("/v1/events", json=events(3)), 3)
    accepted(http.post("/v1/events", json=events(4)), 1, known=3)
    anonymous = [EVENT, EVENT]  # two, in one request; the same two when it is sent again
    accepted(http.post("/v1/events", json=anonymous), 2)
    accepted(http.post("/v1/events", json=anonymous), 0, known=2)


def test_bad_ones_do_not_block_the_others(http: TestClient, parts: Twins) -> None:
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    sent = [*events(2), None, EVENT | {"event_time": future}, EVENT | {"user_id": "forgotten"}, *events(1, weight=2)]
    answer = http.post("/v1/events", json=sent)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": 2,
        "known": 0,
        "clamped": 0,
        "rejected": [
            {"index": 2, "reason": "a record is a JSON object"},
            {"index": 3, "reason": "event_time lies in the future"},
            {"index": 4, "reason": "the user was forgotten: `portrait forget --lift` has records accepted again"},
            {"index": 5, "reason": "event_id is known with another payload"},
        ],
    }


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([7, {}], "all 2 records are rejected: a record is a JSON object"),
        ({"user_id": "ann"}, "the record is rejected: item_id is null or empty"),
        (EVENT | {"user_id": "forgotten"}, "the record is rejected: the user was forgotten"),
    ],
)
def test_nothing_good_is_a_422_with_the_reasons(http: TestClient, sent: Any, said: str) -> None:
    body = problem(http.post("/v1/events", json=sent), 422, said)
    assert [one["index"] for one in body["rejected"]] == list(range(len(sent) if isinstance(sent, list) else 1))
    assert all(one["reason"] for one in body["rejected"])


@pytest.mark.parametrize("kind", SegmentKind)
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b"null", b"NaN", b'"x"', b"\xff", b"[" * 100_000, b'["\\ud800"]']
)
def test_bodies_that_are_no_records(http: TestClient, parts: Twins, kind: SegmentKind, body: bytes) -> None:
    problem(http.post(f"/v1/{kind}", content=body, headers={"Content-Type": "application/json"}), 422)
    assert not parts.inbox.groups


def test_a_body_is_bounded_and_must_be_json(http: TestClient, parts: Twins) -> None:
    body = orjson.dumps(EVENT)
    problem(http.post("/v1/events", content=body), 422, "Content-Type: application/json")
    json = {"Content-Type": "application/json; charset=utf-8"}
    problem(http.post("/v1/events", content=b" " * (MAX_BODY + 1), headers=json), 413, "bytes")
    accepted(http.post("/v1/events", content=body + b" " * 1_000_000, headers=json), 1)
    problem(http.get("/v1/events"), 405)
    assert len(parts.inbox.groups) == 1


def test_a_registry_that_is_away_is_a_503_and_nothing_is_accepted(http: TestClient, parts: Twins) -> None:
    parts.inbox.away = True
    answer = http.post("/v1/events", json=events(2))
    problem(answer, 503, "does not answer")
    assert answer.headers["retry-after"] == "1" and not parts.inbox.payloads
    parts.inbox.away = False
    accepted(http.post("/v1/events", json=events(2)), 2)


def test_a_full_queue_is_a_503_at_once_and_what_waited_is_accepted(registry_file: Path) -> None:
    parts = twins(registry_file, accept_queue=30)
    app = create_app(parts.pool, parts.operations, parts.arrivals, SETTINGS)
    parts.inbox.open.clear()
    with TestClient(app) as http, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.post, "/v1/events", json=events(30))
        while parts.arrivals._writer._waiting < 30:
            pass
        answer = http.post("/v1/events", json=events(1))
        problem(answer, 503, "30 records wait")
        assert answer.headers["retry-after"]
        parts.inbox.open.set()
        accepted(waiting.result(), 30)
        accepted(http.post("/v1/events", json=events(31)), 1, known=30)  # larger than the queue, but nothing waits
    parts.close()


def test_records_are_counted_by_kind_and_outcome(http: TestClient) -> None:
    def counts() -> dict[str, float]:
        found = re.findall(r"^portrait_records_total(\S+) (\S+)", http.get("/metrics").text, re.MULTILINE)
        return {labels: float(count) for labels, count in found}

    def send(name: str) -> None:
        three = events(3, user_id=name)
        for number, one in enumerate(three):
            one["event_id"] = f"{name}-{number}"
        http.post("/v1/events", json=[*three, three[0], EVENT | {"user_id": "forgotten"}, 7, 8])
        http.post("/v1/users", json={"user_id": name})
        http.post("/v1/items", json={})

    # A counter shows up with its first use; where processes share files, with what earlier tests left in it.
    send("first")
    before = counts()
    send("second")
    after = counts()
    expected = {("events", "accepted"): 3, ("events", "known"): 1, ("events", "forgotten"): 1, ("events", "invalid"): 2}
    expected |= {("users", "accepted"): 1, ("items", "invalid"): 1}
    for (kind, outcome), count in expected.items():
        labels = f'{{kind="{kind}",outcome="{outcome}"}}'
        assert after[labels] - before[labels] == count, labels


POISON = {
    "half of an emoji": (
        b'{"user_id": "\\ud83d", "item_id": "a", "event_time": "2024-05-01"}',
        "user_id is not valid Unicode",
    ),
    "half of an emoji in a field's name": (b'{"\\ud83d": 1, "user_id": "u"}', "an event has no field `\\ud83d`"),
    "latin-1": (b'{"user_id": "caf\xe9", "item_id": "a", "event_time": "2024-05-01"}', "user_id is not valid Unicode"),
    "cut character": (
        b'{"user_id": "u", "item_id": "\xf0\x9f", "event_time": "2024-05-01"}',
        "item_id is not valid Unicode",
    ),
    "bare surrogate": (
        b'{"user_id": "u", "item_id": "\xed\xa0\xbd", "event_time": "2024-05-01"}',
        "item_id is not valid",
    ),
    "NaN": (b'{"user_id": "u", "item_id": "a", "event_time": "2024-05-01", "weight": NaN}', "weight is not finite"),
    "-Infinity": (b'{"user_id": "u", "item_id": "a", "event_time": "2024-05-01", "weight": -Infinity}', "not finite"),
    "NaN as a record": (b"NaN", "a record is a JSON object"),
    "NaN as an id": (b'{"user_id": NaN, "item_id": "a", "event_time": "2024-05-01"}', "user_id is not text"),
    "NUL": (b'{"user_id": "a\0b", "item_id": "a", "event_time": "2024-05-01"}', "user_id holds a NUL character"),
    "digits": (
        b'{"user_id": "u", "item_id": "a", "event_time": NaN, "weight": ' + b"9" * 5000 + b"}",
        "event_time is not a time",
    ),
}


@pytest.mark.parametrize(("record", "reason"), POISON.values(), ids=POISON)
def test_one_poisonous_record_costs_no_other(http: TestClient, parts: Twins, record: bytes, reason: str) -> None:
    good = [orjson.dumps(one) for one in events(4)]
    body = b"[" + b",".join([*good[:2], record, *good[2:]]) + b"]"
    answer = http.post("/v1/events", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 4
    (rejected,) = answer.json()["rejected"]
    assert rejected["index"] == 2 and reason in rejected["reason"]
    assert [payload[6] for payload in payloads(parts)] == ["e0", "e1", "e2", "e3"]
    alone = http.post("/v1/events", content=record, headers={"Content-Type": "application/json"})
    assert alone.status_code == 422


ODD_FIELDS = {
    ("users", "user_id"): ("user_id", b'{"user_id": %s}'),
    ("users", "country"): ("country", b'{"user_id": "u", "country": %s}'),
    ("users", "onboarding_items"): ("onboarding_items", b'{"user_id": "u", "onboarding_items": ["a", %s]}'),
    ("items", "item_id"): ("item_id", b'{"item_id": %s}'),
    ("items", "text"): ("text", b'{"item_id": "i", "text": %s}'),
    ("items", "tags"): ("tags", b'{"item_id": "i", "tags": ["a", %s]}'),
}


@pytest.mark.parametrize("odd", [b'"\\ud83d"', b'"caf\xe9"', b'"a\0b"', b"NaN", b'"' + b"x" * 70_000 + b'"'])
@pytest.mark.parametrize(("kind", "field"), ODD_FIELDS)
def test_one_odd_user_or_item_costs_no_other(http: TestClient, kind: str, field: str, odd: bytes) -> None:
    name, form = ODD_FIELDS[kind, field]
    id = b"user_id" if kind == "users" else b"item_id"
    body = b'[{"%s": "one"}, %s, {"%s": 7}]' % (id, form % odd, id)
    answer = http.post(f"/v1/{kind}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["accepted"] == 2
    (rejected,) = answer.json()["rejected"]
    assert rejected["index"] == 1 and rejected["reason"].startswith(name)


GZIP = {"Content-Type": "application/json", "Content-Encoding": "gzip"}


def test_gzip(http: TestClient, parts: Twins) -> None:
    one, other = orjson.dumps(events(2))[:-1] + b",", orjson.dumps(events(3)[2:])[1:]
    accepted(http.post("/v1/events", content=gzip.compress(orjson.dumps(events(3))), headers=GZIP), 3)
    accepted(http.post("/v1/events", content=gzip.compress(one) + gzip.compress(other), headers=GZIP), 0, known=3)
    accepted(http.post("/v1/events", json=events(1), headers={"Content-Encoding": "identity"}), 0, known=1)


def test_what_is_no_gzip_and_what_is_too_large(http: TestClient, parts: Twins) -> None:
    packed = gzip.compress(orjson.dumps(events(3)))
    problem(http.post("/v1/events", content=packed[:-9], headers=GZIP), 422, "ends in the middle")
    problem(http.post("/v1/events", content=b"", headers=GZIP), 422, "ends in the middle")
    problem(
        http.post("/v1/events", content=orjson.dumps(events(1)), headers=GZIP), 422, "is said to be gzip and is not"
    )
    problem(http.post("/v1/events", content=packed + b"x" * 20, headers=GZIP), 422, "is said to be gzip and is not")
    bomb = gzip.compress(b" " * (50 * MAX_BODY))
    assert len(bomb) < MAX_BODY // 2
    assert problem(http.post("/v1/events", content=bomb, headers=GZIP), 413, "this body")["limit"] == MAX_BODY
    for encoding in ("br", "zstd", "deflate", "gzip, gzip"):
        sent = http.post("/v1/events", content=packed, headers=GZIP | {"Content-Encoding": encoding})
        problem(sent, 422, encoding, "plain, or as gzip")
    assert parts.inbox.groups == []
