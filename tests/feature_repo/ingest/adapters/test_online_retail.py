"""The adapter of Online Retail: invoice lines to canonical tables."""

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest.adapters import convert
from portrait.feature_repo.ingest.adapters.online_retail import SERVICE
from portrait.registry.errors import InvalidInput
from tests.feature_repo.ingest.adapters.conftest import Folder, rows

MONDAY, TUESDAY, WEDNESDAY = (datetime(2011, 6, day, 9, 30) for day in (6, 7, 8))


def invoice(folder: Folder, *lines: tuple[Any, ...]) -> Path:
    """transactions.parquet with these (customer, description, quantity, time, price, country)."""
    customer, description, quantity, time, price, country = zip(*lines, strict=True)
    return folder.write(
        "transactions.parquet",
        customer_id=pa.array(customer, pa.string()),
        description=pa.array(description, pa.string()),
        quantity=pa.array(quantity, pa.int64()),
        invoice_time=pa.array(time, pa.timestamp("ns")),
        unit_price=pa.array(price, pa.float64()),
        country=pa.array(country, pa.string()),
    )


def test_lines_become_purchases_and_returns_of_cleaned_items(folder: Folder, tmp_path: Path) -> None:
    path = invoice(
        folder,
        ("7", "  pink \t LAMP ", 3, MONDAY, 2.5, "France"),
        ("7", "PINK LAMP", -1, TUESDAY, 2.5, "France"),
    )
    files = convert("online-retail", path, tmp_path / "out")
    common = {"user_id": "7", "item_id": "PINK LAMP", "service": SERVICE}
    assert sorted(rows(files.events), key=lambda row: row["event_time"]) == [
        {**common, "event_time": MONDAY, "action": "purchase", "weight": 7.5},
        {**common, "event_time": TUESDAY, "action": "return", "weight": 2.5},
    ]
    assert rows(files.items) == [{"item_id": "PINK LAMP", "service": SERVICE, "text": "PINK LAMP"}]
    assert files.labels is None


def test_dirty_lines_reach_the_ingest_as_they_are(folder: Folder, tmp_path: Path) -> None:
    path = invoice(
        folder,
        (None, "LAMP", 1, MONDAY, 1.0, "France"),
        ("7", None, 1, MONDAY, 1.0, "France"),
        ("7", "  ", 1, MONDAY, 1.0, "France"),
    )
    files = convert("online-retail", path, tmp_path / "out")
    seen = {(row["user_id"], row["item_id"]) for row in rows(files.events)}
    assert seen == {(None, "LAMP"), ("7", None), ("7", "")}
    assert [row["item_id"] for row in rows(files.items)] == ["LAMP"]
    assert [row["user_id"] for row in rows(files.users)] == ["7"]


def test_sign_up_is_the_first_purchase_and_country_the_first_known(folder: Folder, tmp_path: Path) -> None:
    path = invoice(
        folder,
        ("moved", "LAMP", -1, MONDAY, 1.0, "Spain"),
        ("moved", "LAMP", 1, TUESDAY, 1.0, "France"),
        ("moved", "LAMP", 1, WEDNESDAY, 1.0, "Italy"),
        ("returner", "LAMP", -1, WEDNESDAY, 1.0, "France"),
    )
    files = convert("online-retail", path, tmp_path / "out")
    assert rows(files.users) == [
        {"user_id": "moved", "created_time": TUESDAY, "country": "Spain"},
        {"user_id": "returner", "created_time": WEDNESDAY, "country": "France"},
    ]


def test_a_missing_column_is_named_and_nothing_is_written(folder: Folder, tmp_path: Path) -> None:
    path = folder.write("transactions.parquet", customer_id=["7"], description=["LAMP"])
    with pytest.raises(InvalidInput, match=r"transactions\.parquet has no column quantity, invoice_time, unit_price"):
        convert("online-retail", path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_column_of_another_type_is_refused_and_nothing_is_written(folder: Folder, tmp_path: Path) -> None:
    path = folder.write(
        "transactions.parquet",
        customer_id=["7"],
        description=["LAMP"],
        quantity=[1],
        invoice_time=["last week"],
        unit_price=[1.0],
        country=["France"],
    )
    with pytest.raises(InvalidInput, match=r"transactions\.parquet cannot be converted: .*last week"):
        convert("online-retail", path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_real_file_keeps_every_row(test_data: Path, tmp_path: Path) -> None:
    path = test_data / "online_retail" / "transactions.parquet"
    files = convert("online-retail", path, tmp_path)
    assert files.items is not None and files.users is not None
    assert pq.read_metadata(files.events).num_rows == 1_044_847
    assert pq.read_metadata(files.users).num_rows == 5_942
    with duckdb.connect() as connection:
        counts = "count(*) FILTER (user_id IS NULL), count(DISTINCT user_id), count(*) FILTER (action = 'return')"
        found = connection.read_parquet(str(files.events)).aggregate(counts).fetchone()
        assert found == (235_287, 5_942, 22_557)
    # 5,698 spellings of 5,620 items
    assert pq.read_metadata(files.items).num_rows == 5_620
