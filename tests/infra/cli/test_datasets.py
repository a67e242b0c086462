"""`portrait dataset` and `portrait head train` as commands: one JSON document, tables, and nothing half-written."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.infra import generator
from portrait.infra.portrait import Portrait
from portrait.training.encoding.vocabulary import item_id, service_of
from portrait.training.heads.head import load_head
from tests.infra.commands import Commands
from tests.instances import USERS, embedded
from tests.training.stored import users_of

T = datetime(2024, 9, 1, tzinfo=UTC)


@pytest.fixture
def here(backfilled_home: Path, tmp_path: Path) -> Commands:
    """An instance whose consumer `ranker` reads autoencoder-1."""
    folder = tmp_path / "printed"
    folder.mkdir()
    shutil.copytree(backfilled_home, tmp_path / "home")
    commands = Commands(folder, tmp_path / "home")
    assert commands("apply").code == 0
    assert commands("promote", "ranker", "autoencoder-1", "--force", "--reason", "test").code == 0
    return commands


@pytest.fixture
def labels(here: Commands, tmp_path: Path) -> Path:
    """Who will have many events after T, for every user, and one row that cannot be used."""
    with Portrait(embedded(here.home)) as portrait:
        users = users_of(portrait)
    draw = np.random.default_rng(0).integers(2, size=len(users))
    rows = [
        {"user_id": user, "event_time": T + timedelta(hours=9), "y": int(y)}
        for user, y in zip(users, draw, strict=True)
    ]
    pq.write_table(
        pa.Table.from_pylist([*rows, {"user_id": None, "event_time": T, "y": 1}]), tmp_path / "labels.parquet"
    )
    return tmp_path / "labels.parquet"


def test_from_labels_to_a_registered_head(here: Commands, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "set.parquet"
    made = here("dataset", "ranker", "--labels", labels, "--out", out, "--json").json
    assert (made["read"], made["rows"], made["rejected"]) == (301, 300, {"user_id is null or empty": 1})
    assert made["stamp"]["version"] == "autoencoder-1" and made["stamp"]["grid"] == "1d"
    assert pq.read_table(out)["as_of"].unique().to_pylist() == [T]
    shown = here("dataset", "ranker", "--labels", labels, "--out", out)
    assert shown.code == 0 and "rows with a vector" in shown.out and "300" in shown.out
    assert "user_id is null or empty" in shown.out and "training set at autoencoder-1" in shown.err

    trained = here("head", "train", "ranker", "--data", out, "--label", "y", "--kind", "boosting", "--json").json
    assert trained["task"] == "y" and trained["data_stamp"] == made["stamp"]["data_stamp"]
    assert trained["auc"]["low"] < trained["auc"]["value"] == trained["metrics"]["auc"] < trained["auc"]["high"]
    assert (here.home / trained["location"] / "trees.txt").is_file()
    named = here("head", "train", "ranker", "--data", out, "--label", "y", "--name", "plain")
    assert named.code == 0 and "heads/ranker/plain" in named.out and "95% within" in named.out
    heads = here("head", "list", "ranker", "--json").json
    assert [head["location"] for head in heads] == [trained["location"], "heads/ranker/plain"]


def test_a_head_that_ranks_items_of_a_service(here: Commands, tmp_path: Path) -> None:
    events = pq.read_table(generator.generate(tmp_path / "again", users=USERS).events).sort_by("event_time")
    rows = [row for row in events.to_pylist() if row["service"] == "shop" and row["event_time"] >= T]
    asked = {row["user_id"]: {"user_id": row["user_id"], "event_time": T, "next": row["item_id"]} for row in rows}
    labels, out = tmp_path / "next.parquet", tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist(list(asked.values())), labels)
    assert here("dataset", "ranker", "--labels", labels, "--out", out).code == 0
    command = ("head", "train", "ranker", "--data", out, "--label", "next")

    trained = here(*command, "--kind", "two-tower", "--service", "shop", "--json").json
    told = trained["ndcg@10"]
    assert 0 <= told["low"] <= told["value"] == trained["metrics"]["ndcg@10"] <= told["high"] <= 1
    assert set(trained["metrics"]) == {"hr@10", "ndcg@10", "ndcg@10_low", "ndcg@10_high"}
    head = load_head(here.home / trained["location"])
    assert head.kind == "two-tower" and {service_of(name) for name in head.names} == {"shop"}
    assert {item_id(name) for name in head.names} <= {row["next"] for row in asked.values()}
    scores = head.scores(np.zeros((3, 16), np.float32), head.about.fingerprint)
    assert scores.shape == (3, len(head.names)) and np.isfinite(scores).all()
    shown = here(*command, "--kind", "two-tower", "--service", "shop")
    assert "ndcg@10 on the test users" in shown.out and "hr@10" in shown.out and " items" in shown.out

    for further, said in (
        (
            ("--kind", "two-tower"),
            "a head of kind two-tower needs a service whose items the label names: give --service",
        ),
        (("--service", "shop"), "a head of kind logistic tells classes apart, it has no service: leave out --service"),
        (("--kind", "two-tower", "--service", "opera"), "autoencoder-1 knows none of the items in `next` ("),
    ):
        refused = here(*command, *further)
        assert refused.code == 2 and said in refused.error


def test_a_consumer_that_reads_nothing_names_a_version(here: Commands, labels: Path, tmp_path: Path) -> None:
    assert here("consumer", "add", "new", "--owner", "team").code == 0
    command = ("dataset", "new", "--labels", labels, "--out", tmp_path / "set.parquet")
    refused = here(*command)
    assert refused.code == 1 and "reads no version yet: name one with --version" in refused.error
    assert here(*command, "--version", "autoencoder-1").code == 0
    refused = here(
        "dataset", "new", "--labels", tmp_path / "none.parquet", "--out", tmp_path / "x", "--version", "clue-9"
    )
    assert refused.code == 1 and "clue-9" in refused.error


def test_one_that_is_killed_leaves_nothing_that_a_reader_sees(here: Commands, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "sets" / "set.parquet"
    out.parent.mkdir()
    running = here.start("dataset", "ranker", "--labels", labels, "--out", out)
    until = time.monotonic() + 120
    while not list((here.home / "staging").glob("dataset-*/labels/*")) and time.monotonic() < until:
        time.sleep(0.005)
    running.kill()
    running.join()
    assert running.exitcode != 0 and list((here.home / "staging").glob("dataset-*"))
    assert list(out.parent.iterdir()) == []
    assert here("dataset", "ranker", "--labels", labels, "--out", out).code == 0
    assert list(out.parent.iterdir()) == [out] and pq.read_metadata(out).num_rows == 300
    assert not list((here.home / "staging").glob("dataset-*"))
