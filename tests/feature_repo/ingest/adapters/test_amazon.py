"""The adapter of Amazon reviews: several services to canonical tables."""

from datetime import timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest.adapters import convert
from portrait.feature_repo.ingest.adapters.clock import LAST_DAY
from portrait.registry.errors import InvalidInput
from tests.feature_repo.ingest.adapters.conftest import Folder, rows

END = LAST_DAY.replace(tzinfo=None)


@pytest.fixture
def reviews(folder: Folder) -> Folder:
    folder.write(
        "interactions.parquet",
        user_id=["a", "a", "a", "b"],
        service=["toys", "toys", "beauty", "toys"],
        item_id=["t1", "t2", "b1", "t1"],
        position=[0, 1, 0, 0],
    )
    folder.write("items.parquet", item_id=["t1", "t2", "b1"], service=["toys", "toys", "beauty"], text=["A", "B", "C"])
    return folder


@pytest.mark.parametrize("name", ["", "interactions.parquet"])
def test_an_event_a_day_in_each_service_the_last_ones_together(reviews: Folder, tmp_path: Path, name: str) -> None:
    files = convert("amazon", reviews.path / name, tmp_path / "out")
    assert {(row["user_id"], row["service"], row["item_id"], row["event_time"]) for row in rows(files.events)} == {
        ("a", "toys", "t1", END - timedelta(days=1)),
        ("a", "toys", "t2", END),
        ("a", "beauty", "b1", END),
        ("b", "toys", "t1", END),
    }
    assert sorted(row["text"] for row in rows(files.items)) == ["A", "B", "C"]
    assert files.users is None and files.labels is None


def test_both_files_are_needed(reviews: Folder, tmp_path: Path) -> None:
    (reviews.path / "items.parquet").unlink()
    with pytest.raises(InvalidInput, match=r"there is no file .*items\.parquet"):
        convert("amazon", reviews.path, tmp_path / "out")


def test_the_real_files(test_data: Path, tmp_path: Path) -> None:
    files = convert("amazon", test_data / "amazon_services", tmp_path)
    assert files.items is not None
    assert pq.read_metadata(files.items).num_rows == 42_382
    with duckdb.connect() as connection:
        events = connection.read_parquet(str(files.events))
        counts = "count(*), count(DISTINCT user_id), count(DISTINCT (service, item_id))"
        assert events.aggregate(counts).fetchone() == (662_436, 72_682, 42_382)
        # One event a day: no two events of a user in a service share their time.
        assert events.aggregate("count(DISTINCT (user_id, service, event_time))").fetchone() == (662_436,)
