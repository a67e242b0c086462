"""Conclusions from the figures: changes beside the paper's, verdicts, metrics within intervals."""

import numpy as np
import pytest

from portrait.training.evaluation.suites.cost.models import MeasuredModel
from portrait.training.evaluation.suites.cost.numbers import Cost, CostChange, CostVerdict, MetricComparison, Reads
from portrait.training.evaluation.suites.cost.reads import Latency, latencies
from portrait.training.evaluation.suites.cost.scores import Score
from portrait.training.evaluation.suites.cost.stores import Held


def score(method: str, value: float, seconds: float) -> Score:
    return Score("one", method, "auc", value, value - 0.02, value + 0.02, 100, seconds, 1.0)


def cost(vector: float = 0.75) -> Cost:
    latency = Latency(2.0, 4.0, 500.0, 10)
    quick = Latency(0.5, 1.0, 2000.0, 10)
    return Cost(
        data="s1",
        users=100,
        store="SQLite",
        held_how="size of the file",
        shared="v",
        models=[MeasuredModel("v", "autoencoder", "f", 8, "a", 30.0)],
        scores=[score("curated", 0.75, 3.0), score("v", vector, 1.0)],
        curated=[Held("one", 12, 100, 50_000, 1.0, 9.0)],
        vectors=[Held("v", 8, 100, 20_000, 2.0, 0.5)],
        reads=[Reads("one", latency, quick, quick, 1, 1, 1000, 400, 300)],
        inputs=Held("raw inputs", 3, 100, 40_000, 0.0, 0.0),
        feast_seconds=3.0,
    )


def test_sums_of_both_sides() -> None:
    found = {one.what: (one.curated, one.shared) for one in cost().changes}
    assert found["online store"] == (500.0, 200.0)
    assert found["online, raw inputs too"] == (500.0, 600.0)
    assert found["features to keep"] == (12, 4)
    assert found["pipelines to keep"] == (1, 3)
    assert found["batch of all, both by Feast"] == (10.0, 5.0)
    assert found["batch of all, by a backfill"] == (10.0, 2.5)
    assert found["training, five heads"] == (4.0, 2.0)
    assert found["training, representation too"] == (4.0, 34.5)
    assert found["five requests by Feast"] == (2.0, 0.5)


@pytest.mark.parametrize(
    ("shared", "verdict"),
    [
        (10.0, CostVerdict.HOLDS),
        (50.0, CostVerdict.HOLDS),
        (75.0, CostVerdict.HOLDS),
        (80.0, CostVerdict.SIGN),
        (100.0, CostVerdict.FAILS),
    ],
)
def test_the_papers_sign_and_size(shared: float, verdict: CostVerdict) -> None:
    assert CostChange("cost", "s", 100.0, shared).verdict is verdict


@pytest.mark.parametrize(
    ("vector", "said"),
    [
        (0.75, MetricComparison.EQUAL),
        (0.78, MetricComparison.EQUAL),
        (0.80, MetricComparison.BETTER),
        (0.70, MetricComparison.WORSE),
    ],
)
def test_metrics_are_equal_where_intervals_meet(vector: float, said: MetricComparison) -> None:
    assert cost(vector).metrics("one") is said


def test_every_kind_of_read_sees_the_same_users() -> None:
    seen: dict[str, list[str]] = {"a": [], "b": []}
    found = latencies({name: seen[name].append for name in seen}, ["u1", "u2", "u3"], requests=20)
    assert seen["a"] == seen["b"] and len(seen["a"]) == 22  # two of them not counted
    assert {one.requests for one in found.values()} == {20}
    assert all(0 < one.p50_ms <= one.p99_ms and one.per_second > 0 for one in found.values())
    assert Latency.from_seconds(np.array([0.001, 0.003])) == Latency(2.0, pytest.approx(2.98), 500.0, 2)
