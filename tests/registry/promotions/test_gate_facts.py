"""Facts of the gates: the rows that a promotion's transaction reads about a version."""

from datetime import timedelta

import pytest

from portrait.registry.consumers.heads import NewHead
from portrait.registry.errors import GateRefused
from portrait.registry.records.verdicts import GateOutcome, Verdict
from portrait.registry.registry import Registry
from tests.registry.factories import AS_OF, with_versions


@pytest.fixture
def measured(registry: Registry) -> Registry:
    """A registry whose consumer reads the first of two versions and watches its auc on churn."""
    acting = with_versions(registry, 2)
    acting.promotions.promote("ads", "autoencoder-1")
    acting.consumers.set("ads", gates=["task=churn", "tolerance=0.01"])
    return acting


def evaluate(registry: Registry, number: int, value: float, stamp: str | None = "d1", task: str = "churn") -> None:
    registry.versions.record_evaluation(
        f"autoencoder-{number}",
        fingerprint=f"fingerprint-of-run-{number}",
        task=task,
        metric="auc",
        value=value,
        as_of=AS_OF,
        data_stamp=stamp,
    )


def train_head(registry: Registry, number: int, auc: float, consumer: str = "ads") -> None:
    registry.heads.register(
        NewHead(
            consumer=consumer,
            version=f"autoencoder-{number}",
            fingerprint=f"fingerprint-of-run-{number}",
            task="churn",
            data_stamp="d1",
            as_of=AS_OF,
            metrics={"auc": auc, "logloss": 0.4},
            location="s3://heads/ads",
        )
    )


def verdict(registry: Registry, gate: str) -> Verdict:
    answers = registry.promotions.check("ads", "autoencoder-2")
    return next(answer for answer in answers if answer.gate == gate)


def test_a_head_and_a_stamped_evaluation_compare(measured: Registry) -> None:
    evaluate(measured, 1, 0.75)
    assert verdict(measured, "metric-not-worse").outcome is GateOutcome.WAIT
    train_head(measured, 2, 0.70)
    refused = verdict(measured, "metric-not-worse")
    assert refused.outcome is GateOutcome.REJECT
    assert "auc on churn (d1, as of 2011-06-10) is 0.7 on autoencoder-2 and 0.75 on autoencoder-1" in refused.reason
    with pytest.raises(GateRefused, match=r"worse by 0\.05, the tolerance is 0\.01"):
        measured.promotions.promote("ads", "autoencoder-2")
    train_head(measured, 2, 0.745)
    assert measured.promotions.promote("ads", "autoencoder-2").to_version == "autoencoder-2"


def test_an_evaluation_without_a_stamp_compares_with_nothing(measured: Registry) -> None:
    evaluate(measured, 1, 0.75)
    evaluate(measured, 2, 0.9, stamp=None)
    evaluate(measured, 2, 0.9, task="bids")
    assert verdict(measured, "metric-not-worse").outcome is GateOutcome.WAIT


def test_another_consumers_head_says_nothing(measured: Registry) -> None:
    measured.consumers.add("search", "search team", "rank")
    measured.consumers.set("ads", wants_head=True)
    evaluate(measured, 1, 0.75)
    train_head(measured, 2, 0.9, consumer="search")
    assert verdict(measured, "metric-not-worse").outcome is GateOutcome.WAIT
    assert verdict(measured, "head-is-ready").outcome is GateOutcome.WAIT
    train_head(measured, 2, 0.9)
    assert verdict(measured, "metric-not-worse").accepted
    assert verdict(measured, "head-is-ready").accepted


def test_a_backfill_that_finishes_later_asks_for_a_new_look(measured: Registry) -> None:
    measured.consumers.set("ads", gates=["task="])
    assert all(answer.accepted for answer in measured.promotions.check("ads", "autoencoder-2"))
    later = measured.backfills.begin("autoencoder-2", "snapshot-2", AS_OF + timedelta(days=1), 0)
    assert all(answer.accepted for answer in measured.promotions.check("ads", "autoencoder-2"))
    measured.backfills.finish(later.id)
    assert "since its newest backfill finished" in verdict(measured, "artifact-loads").reason
