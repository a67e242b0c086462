"""The churn task: its population and labels, its scores, and how it reads exports."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from benchmarks.churn import auc, main, mean_item_vectors
from benchmarks.churn_task import TEST_CUT, TRAIN_CUT, ChurnTask, Population, exported_vectors
from registry.errors import InvalidInput

CUT = datetime(2011, 6, 10)
RETAIL = Path("online_retail") / "transactions.parquet"


def invoices(folder: Path, lines: Sequence[tuple[str | None, str | None, int, datetime, float]]) -> Path:
    """transactions.parquet with these (customer, description, quantity, time, price)."""
    names = ("customer_id", "description", "quantity", "invoice_time", "unit_price")
    columns = dict(zip(names, map(list, zip(*lines, strict=True)), strict=True))
    pq.write_table(pa.table(columns), folder / "transactions.parquet")
    return folder / "transactions.parquet"


def export(folder: Path, name: str, users: list[str], vectors: np.ndarray) -> Path:
    """A file as `portrait export` writes it."""
    flat = pa.array(vectors.astype(np.float32).ravel())
    table = pa.table({"user_id": users, "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])})
    pq.write_table(table, folder / name)
    return folder / name


def test_population_and_labels_respect_their_windows_to_the_microsecond(tmp_path: Path) -> None:
    instant = timedelta(microseconds=1)
    bought = {  # customer: days after the cut of their purchases
        "first": [timedelta(days=-180)],
        "too-early": [timedelta(days=-180) - instant],
        "stays": [-instant, timedelta(0)],
        "stays-late": [-instant, timedelta(days=90) - instant],
        "leaves": [-instant, timedelta(days=90)],
        "too-late": [timedelta(0)],
    }
    lines = [(customer, "LAMP", 1, CUT + when, 1.0) for customer, times in bought.items() for when in times]
    with ChurnTask(invoices(tmp_path, lines)) as task:
        population = task.population(CUT)
    assert dict(zip(population.customers, population.churned.tolist(), strict=True)) == {
        "first": True,
        "leaves": True,
        "stays": False,
        "stays-late": False,
    }


def test_only_purchases_count(tmp_path: Path) -> None:
    before, after = CUT - timedelta(days=1), CUT + timedelta(days=1)
    lines = [
        (None, "LAMP", 1, before, 1.0),
        ("no-item", None, 1, before, 1.0),
        ("returns", "LAMP", -1, before, 1.0),
        ("gift", "LAMP", 1, before, 0.0),
        ("buys", "LAMP", 1, before, 1.0),
        ("buys", "LAMP", -1, after, 1.0),
    ]
    with ChurnTask(invoices(tmp_path, lines)) as task:
        population = task.population(CUT)
    assert (population.customers, population.churned.tolist()) == (["buys"], [True])


def test_features_come_from_before_the_cut(tmp_path: Path) -> None:
    lines = [
        ("a", "LAMP", 2, CUT - timedelta(days=100), 1.5),
        ("a", " lamp", 1, CUT - timedelta(days=10), 4.0),
        ("a", "CUP", 1, CUT - timedelta(days=10), 1.0),
        ("a", "AFTER", 9, CUT, 9.0),
    ]
    with ChurnTask(invoices(tmp_path, lines)) as task:
        population = task.population(CUT)
        # recency, tenure, visits, lines, items, money, then visits and money in 30, 90 and 180 days
        assert task.rfm(population).tolist() == [[10, 100, 2, 3, 2, 8, 1, 5, 1, 5, 2, 8]]
        assert sorted(task.baskets(population)["a"]) == ["CUP", "LAMP", "LAMP"]


def test_mean_item_vectors_weigh_every_line_and_place_new_items_by_their_words() -> None:
    train = {"a": ["PINK LAMP", "PINK LAMP", "BLUE CUP"], "b": ["BLUE CUP"], "c": ["PINK LAMP"]}
    mean, new = mean_item_vectors(train, {"d": ["PINK LAMP LARGE"], "e": ["UNHEARD OF"]})
    a, b, c = mean
    assert np.allclose(a, (2 * c + b) / 3)
    assert np.linalg.norm(new[0] - c) < np.linalg.norm(new[0] - b)
    assert not new[1].any()


def test_auc_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    rng = np.random.default_rng(1)
    truth, score = rng.random(200) < 0.4, np.round(rng.random(200), 1)
    weights = np.stack([np.ones(200), rng.integers(0, 4, 200)]).astype(float)
    expected = [roc_auc_score(truth, score, sample_weight=row) for row in weights]
    assert auc(truth, score, weights) == pytest.approx(expected)


def test_vectors_follow_the_population_and_not_the_file(tmp_path: Path) -> None:
    path = export(tmp_path, "e.parquet", ["b", "other", "a"], np.array([[1, 2], [9, 9], [3, 4]]))
    population = Population(CUT, ["a", "b"], np.array([True, False]))
    assert exported_vectors(path, population).tolist() == [[3, 4], [1, 2]]


def test_unusable_exports_are_refused(tmp_path: Path) -> None:
    population = Population(CUT, ["a", "b"], np.array([True, False]))
    path = export(tmp_path, "e.parquet", ["a"], np.ones((1, 2)))
    with pytest.raises(InvalidInput, match="1 of 2 customers do not have a vector in"):
        exported_vectors(path, population)
    path = export(tmp_path, "e.parquet", ["a", "b"], np.array([[1.0, np.nan], [1.0, 1.0]]))
    with pytest.raises(InvalidInput, match="not finite"):
        exported_vectors(path, population)
    pq.write_table(pa.table({"user_id": ["a"], "vector": [[1.0]]}), path)
    with pytest.raises(InvalidInput, match=r"vector is list<.*fixed-size"):
        exported_vectors(path, population)
    path.write_bytes(b"no")
    with pytest.raises(InvalidInput, match="is not an export"):
        exported_vectors(path, population)


def command(*arguments: object) -> tuple[int, str, str]:
    """Run the command line: exit status, standard output, standard error."""
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_an_export_without_its_twin_is_refused(tmp_path: Path) -> None:
    status, out, error = command("--data", tmp_path / "t.parquet", "--train", tmp_path / "e.parquet")
    assert (status, out) == (2, "")
    assert "give the exports as of both cuts" in error


def test_the_real_task(test_data: Path, tmp_path: Path) -> None:
    with ChurnTask(test_data / RETAIL) as task:
        train, test = task.population(TRAIN_CUT), task.population(TEST_CUT)
        assert (len(train), len(test)) == (2_639, 2_772)
        assert (round(train.churned.mean(), 2), round(test.churned.mean(), 2)) == (0.51, 0.38)
        # RFM in the place of an embedding: it has to come out as good as the README of the data says RFM is.
        exports = [
            export(tmp_path, f"{population.cut:%m}.parquet", population.customers, np.log1p(task.rfm(population)))
            for population in (train, test)
        ]
    status, out, _ = command(
        "--data", test_data / RETAIL, "--train", exports[0], "--test", exports[1],
        "--random-train", exports[0], "--random-test", exports[1], "--json",
    )  # fmt: skip
    scores = {score["features"]: score for score in orjson.loads(out)}
    assert status == 0
    assert list(scores) == [
        "exported vectors",
        "random-weight encoder",
        "mean item vectors (TF-IDF + SVD)",
        "recency",
        "recency, frequency, money",
    ]
    assert scores["exported vectors"]["auc"] == pytest.approx(0.75, abs=0.02)
    assert scores["recency"]["auc"] == pytest.approx(0.663, abs=0.005)
    assert scores["recency, frequency, money"]["auc"] == pytest.approx(0.75, abs=0.01)
    assert all(score["low"] < score["auc"] < score["high"] for score in scores.values())
