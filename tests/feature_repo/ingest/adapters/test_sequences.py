"""The adapter of leave-one-out files: sequences to canonical tables."""

import gzip
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from portrait.feature_repo.ingest.adapters import convert
from portrait.feature_repo.ingest.adapters.clock import LAST_DAY
from portrait.registry.errors import InvalidInput
from tests.feature_repo.ingest.adapters.conftest import rows

END = LAST_DAY.replace(tzinfo=None)


def sequences(folder: Path, text: str) -> Path:
    """A gzipped file of these lines."""
    path = folder / "Toys.txt.gz"
    path.write_bytes(gzip.compress(text.encode()))
    return path


def test_a_line_becomes_an_event_a_day_up_to_the_last_day(tmp_path: Path) -> None:
    files = convert("sequences", sequences(tmp_path, "1 10 11 10\n2 12 \n"), tmp_path / "out")
    found = [tuple(row.values()) for row in rows(files.events)]
    assert sorted(found) == [
        ("1", "10", END - timedelta(days=2), "toys"),
        ("1", "10", END, "toys"),
        ("1", "11", END - timedelta(days=1), "toys"),
        ("2", "12", END, "toys"),
    ]
    assert files.items is None and files.users is None and files.labels is None


@pytest.mark.parametrize(("text", "message"), [("1 10\n2\n", "line 2 of .* is '2'"), ("", "holds no lines")])
def test_a_file_without_sequences_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        convert("sequences", sequences(tmp_path, text), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"1 10 11\n", gzip.compress(b"1 10 11\n")[:-4], gzip.compress(b"\xff\xfe")],
    ids=["plain", "cut short", "no text"],  # gzip writes the time, and tests have the same name in every process
)
def test_a_file_that_is_not_gzipped_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "Toys.txt.gz"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"Toys\.txt\.gz is not a gzipped text file"):
        convert("sequences", path, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "users", "events"),
    [
        ("Beauty", 22_363, 198_502),
        ("Sports_and_Outdoors", 35_598, 296_337),
        ("Toys_and_Games", 19_412, 167_597),
        ("Yelp", 30_431, 316_354),
    ],
)
def test_the_real_files(test_data: Path, tmp_path: Path, name: str, users: int, events: int) -> None:
    files = convert("sequences", test_data / "leave_one_out" / f"{name}.txt.gz", tmp_path)
    with duckdb.connect() as connection:
        table = connection.read_parquet(str(files.events))
        assert table.aggregate("count(DISTINCT user_id), count(*)").fetchone() == (users, events)
        # Leaving out the test item is a cut in time: it drops exactly the last event of everybody.
        left = table.filter(f"event_time < TIMESTAMP '{LAST_DAY:%Y-%m-%d}'").aggregate("count(*)").fetchone()
        assert left == (events - users,)
