"""The fold against a plain Python fold, for any order of events and files."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.schemas import HISTORY
from portrait.feature_repo.settings import FeatureSettings
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from tests.feature_repo.conftest import NOW, Write

START = datetime(2024, 1, 1, tzinfo=UTC)
LENGTH = 3
EXAMPLE = itertools.count()
PLACED = ["position", "as_of", "computed_at"]


def plain_fold(events: list[dict[str, Any]], as_of: datetime) -> dict[str, list[dict[str, Any]]]:
    """The definition: known ids once, before as_of, the last N of each service, in order of (time, id)."""
    kept: dict[str, list[dict[str, Any]]] = {event["user_id"]: [] for event in events}
    services: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in {event["event_id"]: event for event in events}.values():
        if event["event_time"] < as_of:
            services[event["user_id"], event["service"]].append(event)
    for (user, _), of_service in services.items():
        kept[user] += sorted(of_service, key=lambda e: (e["event_time"], e["event_id"]))[-LENGTH:]
    return {user: sorted(rows, key=lambda e: (e["event_time"], e["event_id"])) for user, rows in kept.items()}


EVENT = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u1", "u2", "ü3"]),
        "service": st.sampled_from(["music", "shop"]),
        "item_id": st.sampled_from(["a", "b", "c"]),
        "action": st.sampled_from(["view", "buy"]),
        "weight": st.sampled_from([0.5, 1.0, -2.0]),
        "event_time": st.integers(0, 12).map(lambda minutes: START + timedelta(minutes=minutes)),  # many ties
    }
)
EVENTS = st.lists(EVENT, min_size=1, max_size=24).map(
    lambda rows: [row | {"event_id": f"e{n:02d}"} for n, row in enumerate(rows)]
)


@pytest.fixture
def logs(home: Path) -> Iterator[list[EventLog]]:
    """Two empty logs; the examples of the test below share them, each with users of its own."""
    opened = []
    for name in ("pieces", "once"):
        config = FeatureSettings(home=home / name, history_length=LENGTH)
        config.home.mkdir(parents=True)
        opened.append(EventLog(Database(config.database_url), config))
        upgrade(opened[-1].database)
    yield opened
    for log in opened:
        log.database.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS, st.data())
def test_order_and_files_do_not_matter(
    logs: list[EventLog], write: Write, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    own = f"{next(EXAMPLE)}:"
    events = [row | {"user_id": own + row["user_id"], "event_id": own + row["event_id"]} for row in events]
    as_of = START + timedelta(minutes=data.draw(st.integers(0, 14), label="as of minute"))
    again = data.draw(st.lists(st.sampled_from(events), max_size=6), label="delivered again")
    arriving = data.draw(st.permutations([*events, *again]), label="arriving")
    cuts = sorted(data.draw(st.lists(st.integers(1, len(arriving)), max_size=2, unique=True), label="files"))
    files = [arriving[i:j] for i, j in zip([0, *cuts], [*cuts, len(arriving)], strict=True) if i < j]

    in_pieces = histories(logs[0], write, files, as_of, own)
    at_once = histories(logs[1], write, [events], as_of, own)
    assert in_pieces.drop_columns(PLACED) == at_once.drop_columns(PLACED)

    expected = plain_fold(events, as_of)
    assert in_pieces["user_id"].to_pylist() == sorted(expected)
    for row in in_pieces.to_pylist():
        wanted = expected[row["user_id"]]
        assert row["event_ids"] == [event["event_id"] for event in wanted]
        assert row["services"] == [event["service"] for event in wanted]
        assert row["item_ids"] == [event["item_id"] for event in wanted]
        assert row["actions"] == [event["action"] for event in wanted]
        assert row["weights"] == [event["weight"] for event in wanted]
        assert row["event_times"] == [round(event["event_time"].timestamp() * 1e6) for event in wanted]


def histories(log: EventLog, write: Write, files: list[list[dict[str, Any]]], as_of: datetime, own: str) -> pa.Table:
    """Histories of the example's own users after the files, one by one; sorted by id."""
    for rows in files:
        report = ingest(log, events=write("e.parquet", rows), now=NOW).events
        assert report is not None
        assert report.rejected == {}
    snapshot = cut_snapshot(log, as_of=as_of)
    table = pa.concat_tables(snapshot.read(bucket, HISTORY.names) for bucket in snapshot.buckets)
    return table.filter(pc.starts_with(table["user_id"], own)).sort_by("user_id").combine_chunks()
