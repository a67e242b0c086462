"""Rules of every adapter: clear refusals, and all files or none."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest.adapters import ADAPTERS, convert
from portrait.registry.errors import InvalidInput
from tests.feature_repo.ingest.adapters.conftest import Folder, rows


def test_an_unknown_data_set_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no adapter 'movielens': choose one of online-retail"):
        convert("movielens", tmp_path, tmp_path / "out")


@pytest.mark.parametrize("dataset", ADAPTERS)
def test_a_missing_file_is_refused(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no file .*absent"):
        convert(dataset, tmp_path / "absent.parquet", tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"customer_id,description\n7,LAMP\n"])
def test_a_file_that_is_not_parquet_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "transactions.parquet"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"transactions\.parquet is not a Parquet file"):
        convert("online-retail", path, tmp_path / "out")


def test_an_empty_table_is_refused(folder: Folder, tmp_path: Path) -> None:
    columns = ("customer_id", "description", "quantity", "invoice_time", "unit_price", "country")
    path = folder.write("transactions.parquet", **{column: [] for column in columns})
    with pytest.raises(InvalidInput, match=r"transactions\.parquet holds no rows"):
        convert("online-retail", path, tmp_path / "out")


def test_a_path_is_never_a_pattern(folder: Folder, tmp_path: Path) -> None:
    for name in ("a.parquet", "[ab].parquet"):
        path = folder.write(
            name,
            customer_id=[name],
            description=["LAMP"],
            quantity=[1],
            invoice_time=["2011-06-06 09:30:00"],
            unit_price=[1.0],
            country=["France"],
        )
    files = convert("online-retail", path, tmp_path / "out")
    assert [row["user_id"] for row in rows(files.users)] == ["[ab].parquet"]
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {
        "events.parquet",
        "items.parquet",
        "users.parquet",
    }


def test_a_long_conversion_draws_nothing_on_standard_output(tmp_path: Path) -> None:
    """In a program without a file, such as a forked one, DuckDB takes itself to be at a prompt."""
    program = f"""
from pathlib import Path
from portrait.feature_repo.ingest.adapters.conversion import Conversion
with Conversion(Path({str(tmp_path)!r})) as conversion:
    conversion.write("settings", "SELECT current_setting('enable_progress_bar') AS draws")
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    assert pq.read_table(tmp_path / "settings.parquet").to_pydict() == {"draws": [False]}
