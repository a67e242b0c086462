"""The adapter of Last.fm listeners: the labels of tasks stay out of the profile."""

from pathlib import Path

import pyarrow.parquet as pq

from portrait.feature_repo.ingest.adapters import convert
from portrait.feature_repo.ingest.adapters.clock import LAST_DAY
from tests.feature_repo.ingest.adapters.conftest import Folder, rows


def test_plays_have_one_instant_and_labels_a_file_of_their_own(folder: Folder, tmp_path: Path) -> None:
    path = folder.write(
        "plays.parquet",
        user=[1, 1, 2],
        artist=["goldfrapp", "le tigre", "goldfrapp"],
        sex=["f", "f", "m"],
        country=["Germany", "Germany", "Chile"],
    )
    files = convert("lastfm", path, tmp_path / "out")
    common = {"event_time": LAST_DAY.replace(tzinfo=None), "service": "music", "action": "play"}
    assert sorted(rows(files.events), key=lambda row: (row["user_id"], row["item_id"])) == [
        {"user_id": "1", "item_id": "goldfrapp", **common},
        {"user_id": "1", "item_id": "le tigre", **common},
        {"user_id": "2", "item_id": "goldfrapp", **common},
    ]
    assert [(row["item_id"], row["text"]) for row in rows(files.items)] == [("goldfrapp",) * 2, ("le tigre",) * 2]
    assert rows(files.users) == [{"user_id": "1"}, {"user_id": "2"}]
    assert rows(files.labels) == [
        {"user_id": "1", "sex": "f", "country": "Germany"},
        {"user_id": "2", "sex": "m", "country": "Chile"},
    ]


def test_the_real_file(test_data: Path, tmp_path: Path) -> None:
    files = convert("lastfm", test_data / "lastfm_profiles" / "plays.parquet", tmp_path)
    assert files.items is not None and files.users is not None and files.labels is not None
    counts = [pq.read_metadata(path).num_rows for path in (files.events, files.users, files.items, files.labels)]
    assert counts == [289_955, 15_000, 1_004, 15_000]
    assert pq.read_schema(files.users).names == ["user_id"]
    assert not {"sex", "country"} & {*pq.read_schema(files.events).names, *pq.read_schema(files.items).names}
    labels = pq.read_table(files.labels)
    assert labels.schema.names == ["user_id", "sex", "country"]
    assert not any(column.null_count for column in labels.columns)
