"""Arrivals on real parts: from HTTP to committed rows, on SQLite and Postgres, and through Redis Streams."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from fastapi.testclient import TestClient

from portrait.feature_repo.broker.intake import take_in
from portrait.feature_repo.broker.redis_streams import open_broker
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.known_columns import KnownColumns
from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.inbox import InboxOutcome, read_inbox
from portrait.feature_repo.log.leases import Leases
from portrait.feature_repo.log.partition import BUCKETS
from portrait.feature_repo.schemas import from_microseconds
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from portrait.registry.errors import InvalidInput
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.gateway.app import create_app
from portrait.serving.gateway.build import build_arrivals
from portrait.serving.settings import ServingSettings
from tests.conftest import fresh_postgres
from tests.serving.api.api_table import EVENT
from tests.serving.conftest import problem
from tests.serving.proxy import Proxy
from tests.serving.twins import Twins

EVENTS = [EVENT | {"user_id": f"user-{number}", "event_id": f"e{number}"} for number in range(200)]


def prepared(settings: ServingSettings) -> EventLog:
    settings.home.mkdir(exist_ok=True)
    database = Database(settings.database_url)
    upgrade(database)
    return EventLog(database, settings)


def inbox(log: EventLog) -> list[object]:
    return [orjson.loads(row.payload) for row in read_inbox(log.database, None, 10_000)]


def served(parts: Twins, settings: ServingSettings) -> tuple[TestClient, Arrivals]:
    arrivals = build_arrivals(settings)
    arrivals.start()
    return TestClient(create_app(parts.pool, parts.operations, arrivals, settings)), arrivals


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> ServingSettings:
    return ServingSettings(home=tmp_path / "home", registry_url=database_url)


@pytest.fixture
def log(settings: ServingSettings) -> Iterator[EventLog]:
    made = prepared(settings)
    yield made
    made.database.close()


def test_accepted_is_committed(parts: Twins, settings: ServingSettings, log: EventLog, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("user_id,country\nann,Chad\n")
    (tmp_path / "items.csv").write_text('item_id,vector_image\nsong,"[1, 2]"\n')
    ingest(log, None, tmp_path / "items.csv", tmp_path / "users.csv")
    http, arrivals = served(parts, settings)
    assert http.post("/v1/events", json=EVENTS).json() == {"accepted": 200, "known": 0, "clamped": 0, "rejected": []}
    assert http.post("/v1/users", json={"user_id": "ann", "country": "Mali"}).status_code == 202
    assert http.post("/v1/items", json={"item_id": "new", "vector_image": [3, 4]}).status_code == 202
    problem(http.post("/v1/users", json={"user_id": "ann", "plan": 1}), 422, "country", "portrait ingest --users FILE")
    problem(http.post("/v1/items", json={"item_id": "new", "vector_image": [3]}), 422, "another length than 2")
    assert http.post("/v1/events", json=EVENTS[:3]).json() == {"accepted": 0, "known": 3, "clamped": 0, "rejected": []}
    found = inbox(log)
    assert len(found) == 202
    assert sorted(row[6] for row in found if isinstance(row, list)) == sorted(f"e{number}" for number in range(200))
    assert {"user_id": "ann", "country": "Mali"} in found
    assert {"service": "default", "item_id": "new", "vector_image": [3.0, 4.0]} in found
    arrivals.close()


def test_a_postgres_that_stands_still_is_a_503(parts: Twins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.serving.gateway.build.WRITE_PATIENCE", 1.0)
    with fresh_postgres() as url, Proxy(url) as proxy:
        settings = ServingSettings(home=tmp_path / "home", registry_url=proxy.url)
        log = prepared(ServingSettings(home=tmp_path / "home", registry_url=url))
        http, arrivals = served(parts, settings)
        assert http.post("/v1/events", json=EVENTS[0]).status_code == 202
        proxy.hush()
        problem(http.post("/v1/events", json=EVENTS[:5]), 503)
        proxy.cut()
        problem(http.post("/v1/events", json=EVENTS[:5]), 503)
        assert len(inbox(log)) == 1
        proxy.mend()
        assert http.post("/v1/events", json=EVENTS[:5]).json()["accepted"] == 4
        arrivals.close()
        log.database.close()


def test_with_a_broker_they_go_to_its_streams(parts: Twins, tmp_path: Path, redis_url: str) -> None:
    settings = ServingSettings(home=tmp_path / "home", registry_url="", broker_url=redis_url)
    log = prepared(settings)
    http, arrivals = served(parts, settings)
    anonymous = {key: value for key, value in EVENT.items() if key != "event_id"}
    assert http.post("/v1/events", json=[*EVENTS, anonymous, anonymous]).json()["accepted"] == 202
    assert http.post("/v1/items", json={"item_id": "new", "text": "A song"}).status_code == 202
    problem(http.post("/v1/events", json=EVENT | {"weight": "x"}), 422, "weight is not a number")
    assert inbox(log) == []
    broker = open_broker(settings)
    assert broker is not None
    assert sum(map(broker.length, range(BUCKETS))) == 203
    taken = take_in(broker, log, RecordJudge(KnownColumns(log)), Leases(log.database, "shard").hold(BUCKETS, {}))
    assert (taken.outcomes, taken.rejected) == ({InboxOutcome.ACCEPTED: 203}, 0) and len(inbox(log)) == 203
    assert sum(map(broker.length, range(BUCKETS))) == 0
    broker.close()
    arrivals.close()
    log.database.close()


@pytest.mark.parametrize("broker", [False, True])
def test_a_clock_that_runs_ahead_is_clamped_and_counted(
    parts: Twins, request: pytest.FixtureRequest, tmp_path: Path, broker: bool
) -> None:
    url = request.getfixturevalue("redis_url") if broker else ""
    settings = ServingSettings(home=tmp_path / "home", broker_url=url, clamp_clocks=True, max_clock_ahead=30)
    log = prepared(settings)
    http, arrivals = served(parts, settings)
    before = datetime.now(UTC)
    ahead = EVENT | {"event_id": "ahead", "event_time": (before + timedelta(hours=2)).isoformat()}
    answer = http.post("/v1/events", json=[ahead, EVENTS[0]]).json()
    assert answer == {"accepted": 2, "known": 0, "clamped": 1, "rejected": []}
    assert 'portrait_records_total{kind="events",outcome="clamped"}' in http.get("/metrics").text
    again = http.post("/v1/events", json=ahead).json()
    if broker:
        streams = open_broker(settings)
        assert streams is not None and again["accepted"] == 1
        judge = RecordJudge(KnownColumns(log), settings.max_clock_ahead, settings.clamp_clocks)
        direct = {"kind": "events", **EVENT, "event_id": "direct", "event_time": "2400-01-01"}
        streams.append([(0, orjson.dumps(direct))])
        taken = take_in(streams, log, judge, Leases(log.database, "shard").hold(BUCKETS, {}))
        assert taken.outcomes == {InboxOutcome.ACCEPTED: 3, InboxOutcome.KNOWN: 1}
        assert (taken.rejected, taken.clamped) == (0, 1)
        streams.close()
    else:
        assert again == {"accepted": 0, "known": 1, "clamped": 0, "rejected": []}
    times = {row[6]: from_microseconds(row[2]) for row in inbox(log) if isinstance(row, list)}
    assert before <= times["ahead"] <= datetime.now(UTC) and len(times) == 2 + broker
    arrivals.close()
    log.database.close()


def test_a_broker_that_is_away_is_a_503(parts: Twins, tmp_path: Path) -> None:
    settings = ServingSettings(home=tmp_path / "home", broker_url="redis://127.0.0.1:9/0")
    log = prepared(settings)
    http, arrivals = served(parts, settings)
    assert problem(http.post("/v1/events", json=EVENTS[0]), 503, "127.0.0.1:9/0")
    arrivals.close()
    log.database.close()


def test_a_broker_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"PORTRAIT_BROKER_URL amqp://u:\*\*\*@h/0: use redis://"):
        open_broker(ServingSettings(home=tmp_path, broker_url="amqp://u:secret@h/0"))
