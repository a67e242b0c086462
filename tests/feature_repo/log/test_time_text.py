"""Times in text: one grammar for DuckDB and Python, and no row that changes the next one."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.ingest.labels import NEEDED, Labels
from portrait.feature_repo.ingest.source import open_source
from portrait.feature_repo.log.duck import connect
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.time_text import parse_time, parse_time_sql
from portrait.feature_repo.schemas import microseconds
from tests.feature_repo.conftest import NOW, Write
from tests.feature_repo.ingest.test_ingest import stored_events
from tests.feature_repo.ingest.test_users_and_items import profiles

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
PLACES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "EST", "CST", "PST8PDT", "GMT+5", "utc", "GMT", "Zulu")
TIMES = {
    "2024-01-01": datetime(2024, 1, 1, tzinfo=UTC),
    "2024-01-01 12:00": NOON,
    "2024-01-01 12:00:00": NOON,
    "\t2024-01-01T12:00:00Z\r\n": NOON,
    "2024-01-01 12:00:00 UTC": NOON,  # as BigQuery writes it
    "2024-01-01 14:00:00+02": NOON,  # as Postgres writes it
    "2024-01-01 14:00:00.000000+02:00": NOON,
    "2024-01-01T17:30:00.000000999+0530": NOON,
    "0001-01-01T00:00:00": datetime(1, 1, 1, tzinfo=UTC),
}
NO_TIMES = (
    "",
    "12:00",
    "epoch",
    "infinity",
    "2024/01/01",
    "2024-1-1",
    "2024-02-30",
    "0000-01-01",
    "24-01-01",
    "10000-01-01",
    "2024-01-01 24:00:00",
    "2024-01-01 12:00:60",
    "2024-01-01 12:00Z",
    "2024-01-01 12:00:00+25:00",
    "2024-01-01 12:00:00+02:60",
    "2024-01-01 12:00:00.",
    "2024-01-01 12:00:00 (BC)",
    "0001-01-01 00:00:00+02:00",
    "9999-12-31 23:59:59-02:00",
    "٢٠٢٤-01-01",
    "1704110400",
    *(f"2024-01-01 12:00:00 {place}" for place in PLACES),
)


def parsed(texts: list[str]) -> list[int | None]:
    """What DuckDB makes of the texts of one column, in microseconds."""
    with duckdb.connect() as duck:
        duck.execute("SET TimeZone = 'UTC'")
        duck.register("texts", pa.table({"row": range(len(texts)), "t": pa.array(texts, pa.string())}))
        query = f"SELECT epoch_us({parse_time_sql('t')}) AS time FROM texts ORDER BY row"
        times: list[int | None] = duck.execute(query).to_arrow_table()["time"].to_pylist()
        return times


def test_what_is_a_time_and_what_is_none() -> None:
    given_texts = [*TIMES, *NO_TIMES]
    expected = [microseconds(time) for time in TIMES.values()] + [None] * len(NO_TIMES)
    assert parsed(given_texts) == expected
    assert [None if (time := parse_time(text)) is None else microseconds(time) for text in given_texts] == expected


@settings(deadline=None, max_examples=25)
@given(
    st.lists(
        st.from_regex(r"[0-9]{4}-[0-1][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,9})?)?)?\Z")
        | st.datetimes().map(str)
        | st.builds("{} {}".format, st.datetimes(), st.sampled_from((*PLACES, "UTC", "+01:00"))),
        min_size=1,
        max_size=30,
    )
)
def test_files_and_requests_read_the_same_moments(texts: list[str]) -> None:
    times = [parse_time(text) for text in texts]
    assert parsed(texts) == [None if time is None else microseconds(time) for time in times]


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("place", ["America/New_York", "Asia/Kolkata", "EST"])
def test_a_zone_of_one_row_is_not_that_of_the_next(log: EventLog, write: Write, form: str, place: str) -> None:
    times = [f"2024-01-01 12:00:00 {place}", "2024-01-01 12:00:00", "2024-01-01 12:00:00+00", "2024-01-01 12:00"]
    rows = [{"user_id": f"u{n}", "item_id": "i", "event_time": time, "seen": time} for n, time in enumerate(times)]
    csv = "user_id,item_id,event_time,seen\n" + "".join(",".join(row.values()) + "\n" for row in rows)
    path = write(f"rows.{form}", csv if form == "csv" else rows)
    report = ingest(log, events=path, now=NOW).events
    assert report is not None
    assert report.rejected == {"event_time is not a time": 1}
    assert {row["event_time"] for row in stored_events(log)} == {NOON}


def test_a_zone_in_users_times(log: EventLog, write: Write) -> None:
    text = (
        "user_id,created_time,seen\n"
        "u1,2024-01-01 12:00:00 America/New_York,2024-01-01 12:00:00\n"
        "u2,2024-01-01 12:00:00,2024-01-01 12:00:00Z\n"
        "u3,2024-01-01 12:00:00,2024-01-01 12:00:00\n"
    )
    report = ingest(log, users=write("u.csv", text), now=NOW).users
    assert report is not None
    assert report.rejected == {"created_time is not a time": 1}
    assert profiles(log, "created_time", "seen") == {"u2": (NOON, NOON), "u3": (NOON, NOON)}


def test_a_zone_in_labels(write: Write, tmp_path: Path) -> None:
    text = "user_id,event_time,label\nu1,2024-01-01 12:00:00 America/New_York,1\nu2,2024-01-01 12:00:00,0\n"
    with connect("1GB", tmp_path) as duck:
        source = open_source(duck, write("l.csv", text), "labels", NEEDED).prepared(duck, tmp_path)
        labels = Labels(duck, source, grid=0, default_as_of=NOW, now=NOW)
        assert labels.times() == [microseconds(NOON)]
        assert duck.execute(f"FROM {labels.rejected}").fetchall() == [(1, "event_time is not a time")]


def test_times_with_names_of_places_are_a_column_of_text(log: EventLog, write: Write) -> None:
    text = "user_id,seen\nu1,2024-01-01 12:00:00 America/New_York\nu2,2024-01-01 12:00:00\n"
    ingest(log, users=write("u.csv", text), now=NOW)
    assert profiles(log, "seen")["u2"] == "2024-01-01 12:00:00"
