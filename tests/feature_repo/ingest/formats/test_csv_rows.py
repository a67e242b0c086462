"""Hostile CSV files: every line becomes a row or a reject; none is lost or altered."""

import gzip
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portrait.feature_repo.ingest.formats import csv_rows
from portrait.feature_repo.ingest.formats.csv_rows import CsvLayout, unpack_csv
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.registry.errors import InvalidInput
from tests.feature_repo.conftest import NOW, Write

HEADER = b"user_id,item_id,event_time\n"
GOOD = b"u1,i1,2024-01-01\n"
MORE = b"".join(b"v%d,i,2024-01-01\n" % n for n in range(20_000))  # more than csv's longest cell

CASES = {  # content, accepted rows, reasons
    "stray quote": (HEADER + GOOD + b'u2,"i2,2024-01-01\n' + MORE, 20_001, {"a cell is too long": 1}),
    "two stray quotes": (HEADER + b'a,"b,2024-01-01\n' + GOOD + b'c,"d,2024-01-01\n', 1, {"broken quoting": 2}),
    "quote at the end": (HEADER + GOOD + b'u2,i2,"2024-01-01', 1, {"broken quoting": 1}),
    "text after a quote": (HEADER + b'u2,"a"b,2024-01-01\n' + GOOD, 1, {"broken quoting": 1}),
    "quoted well": (HEADER + b'u2,"a ""b"", c\nd",2024-01-01\n' + GOOD, 2, {}),
    "too few, too many": (
        HEADER + b"u2,i2\nu3,i3,2024-01-01,x\n" + GOOD,
        1,
        {"too few columns": 1, "too many columns": 1},
    ),
    "not utf-8": (HEADER + b"u2,caf\xe9,2024-01-01\n" + GOOD, 1, {"not UTF-8": 1}),
    "nul": (b"user_id,item_id,event_time,note\nu2,i2,2024-01-01,\x00\n", 1, {}),  # in an id it costs the row
    "all line ends": (HEADER + b"a,i,2024-01-01\r\nb,i,2024-01-01\rc,i,2024-01-01\n", 3, {}),
    "carriage returns": ((HEADER + GOOD).replace(b"\n", b"\r"), 1, {}),
    "blank lines": (HEADER + b"\n\n  \n" + GOOD + b"\n", 1, {}),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER + GOOD, 1, {}),
    "no last newline": (HEADER + GOOD.strip(), 1, {}),
    "semicolons": ((HEADER + GOOD).replace(b",", b";"), 1, {}),
    "tabs": ((HEADER + GOOD).replace(b",", b"\t"), 1, {}),
    "quoted header": (b'"user_id","item_id","event_time"\n' + GOOD, 1, {}),
    "gzip": (gzip.compress(HEADER + GOOD), 1, {}),
    "two gzips in one": (gzip.compress(HEADER + GOOD) + gzip.compress(GOOD), 2, {}),
}


@pytest.mark.parametrize(("content", "accepted", "reasons"), CASES.values(), ids=CASES)
def test_lines_that_are_no_rows_are_set_aside(
    log: EventLog, write: Write, content: bytes, accepted: int, reasons: dict[str, int]
) -> None:
    report = ingest(log, events=write("e.csv", content), now=NOW).events
    assert report is not None
    assert report.accepted == accepted
    assert report.rejected == {f"malformed line: {reason}": count for reason, count in reasons.items()}
    assert report.read == accepted + sum(reasons.values())


def test_rejects_keep_the_line_and_its_number(log: EventLog, write: Write) -> None:
    report = ingest(log, events=write("e.csv", HEADER + GOOD + b"u2,caf\xe9,\nx\n,i,2024-01-01\n"), now=NOW).events
    assert report is not None
    assert report.rejects is not None
    rejects = pq.read_table(report.rejects).select(["row", "reason", "line", "item_id"]).to_pylist()
    assert [tuple(row.values()) for row in rejects] == [
        (2, "malformed line: not UTF-8", r"u2,caf\xe9,", None),
        (3, "malformed line: too few columns", "x", None),
        (4, "user_id is null or empty", None, "i"),
    ]


@pytest.mark.parametrize("cut", [b"", b"garbage"])
def test_a_damaged_gzip_is_refused_whole(log: EventLog, write: Write, cut: bytes) -> None:
    content = gzip.compress(HEADER + MORE)
    path = write("e.csv.gz", content[: len(content) // 2] + cut)
    with pytest.raises(InvalidInput, match="is a damaged gzip file"):
        ingest(log, events=path, now=NOW)
    assert log.manifest().segments == ()


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "LONGEST_LINE", 50)
    path = tmp_path / "long.csv"
    path.write_text("a,b\n1,2\n" + "x" * 120 + ",y\n3,4\n")
    read, rows, malformed = unpacked(path, 2)
    assert read == 5
    assert rows == [(1, "1", "2"), (5, "3", "4")]
    assert "".join(line for _, line in malformed) == "x" * 120 + ",y"


PIECES = st.sampled_from(['"', ",", "\n", "a", "b", " ", "\r\n", '""', "é", "\0"])


@settings(max_examples=200, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_no_character_is_lost(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    """Rows are numbered without a gap, and what is malformed is a line of the file as it stood."""
    path = tmp_path_factory.mktemp("csv") / "any.csv"
    path.write_bytes(b"c0,c1\n" + content.encode())
    read, rows, malformed = unpacked(path, 2)
    assert sorted([row[0] for row in rows] + [row for row, _ in malformed]) == list(range(1, read + 1))
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert all(line in lines for _, line in malformed)
    letters = sum(content.count(letter) for letter in "abé")
    kept = "".join(cell for row in rows for cell in row[1:]) + "".join(line for _, line in malformed)
    assert sum(kept.count(letter) for letter in "abé") == letters


def unpacked(path: Path, columns: int) -> tuple[int, list[tuple[int, str, str]], list[tuple[int, str]]]:
    rows_to, malformed_to = path.with_name("rows.parquet"), path.with_name("malformed.parquet")
    read = unpack_csv(path, CsvLayout(",", False, columns), rows_to, malformed_to)
    rows = [tuple(row.values()) for row in pq.read_table(rows_to).to_pylist()]
    malformed = [(row["row"], row["line"]) for row in pq.read_table(malformed_to).to_pylist()]
    return read, rows, malformed
