from datetime import timedelta

import pytest

from portrait.registry.gates.metric import HeadIsReady, MetricNotWorse
from portrait.registry.records.verdicts import GateOutcome, Verdict
from tests.registry.factories import AS_OF
from tests.registry.gates.cases import NOW, case, consumer, head, measurement

MEASURED = consumer(task="churn", metric="auc")
LATER = AS_OF + timedelta(days=7)


def test_a_consumer_that_wants_no_head_needs_none() -> None:
    assert HeadIsReady().check(case()).accepted


def test_a_head_is_waited_for() -> None:
    verdict = HeadIsReady().check(case(consumer=consumer(wants_head=True)))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, True)
    assert str(verdict) == (
        "consumer ads has no head on autoencoder-2: train one and run `portrait head register ads autoencoder-2`"
    )
    assert HeadIsReady().check(case(consumer=consumer(wants_head=True), heads=(head(),))).accepted


def test_a_head_of_another_space_is_no_head() -> None:
    facts = case(consumer=consumer(wants_head=True), heads=(head("f9"),))
    assert HeadIsReady().check(facts).outcome is GateOutcome.WAIT


def judged(mine: list[float], present: list[float], **gates: object) -> Verdict:
    facts = case(
        consumer=consumer(task="churn", **gates),
        measured=[measurement(value) for value in mine],
        measured_now=[measurement(value) for value in present],
    )
    return MetricNotWorse().check(facts)


def test_a_consumer_without_a_task_is_not_measured() -> None:
    assert MetricNotWorse().check(case()).accepted


@pytest.mark.parametrize(
    ("mine", "present", "tolerance", "higher_is_better", "outcome"),
    [
        (0.75, 0.74, 0.0, True, GateOutcome.ACCEPT),
        (0.74, 0.74, 0.0, True, GateOutcome.ACCEPT),
        (0.74, 0.75, 0.0, True, GateOutcome.REJECT),
        (0.74, 0.75, 0.01, True, GateOutcome.ACCEPT),  # exactly the tolerance
        (0.739, 0.75, 0.01, True, GateOutcome.REJECT),
        (0.74, 0.75, 0.0, False, GateOutcome.ACCEPT),
        (0.75, 0.74, 0.0, False, GateOutcome.REJECT),
        (0.75, 0.74, 0.01, False, GateOutcome.ACCEPT),
        (-0.2, -0.1, 0.0, True, GateOutcome.REJECT),
    ],
)
def test_the_metric_may_be_worse_by_the_tolerance(
    mine: float, present: float, tolerance: float, higher_is_better: bool, outcome: GateOutcome
) -> None:
    verdict = judged([mine], [present], tolerance=tolerance, higher_is_better=higher_is_better)
    assert (verdict.outcome, verdict.forceable) == (outcome, True)


def test_a_worse_metric_is_told_with_both_values() -> None:
    assert str(judged([0.712], [0.745], tolerance=0.01)) == (
        "auc on churn (d1, as of 2011-06-10) is 0.712 on autoencoder-2 and 0.745 on autoencoder-1: "
        "worse by 0.033, the tolerance is 0.01: keep the present version, or train a better one"
    )


def test_the_newest_measurement_on_the_same_data_counts() -> None:
    again = measurement(0.5, measured_at=NOW + timedelta(hours=1))
    facts = case(consumer=MEASURED, measured=[again, measurement(0.9)], measured_now=[measurement(0.7)])
    assert MetricNotWorse().check(facts).outcome is GateOutcome.REJECT


def test_the_newest_as_of_that_both_have_counts() -> None:
    mine = [measurement(0.9), measurement(0.5, as_of=LATER), measurement(0.1, "d2", LATER + timedelta(days=1))]
    present = [measurement(0.7), measurement(0.7, as_of=LATER)]
    verdict = MetricNotWorse().check(case(consumer=MEASURED, measured=mine, measured_now=present))
    assert verdict.outcome is GateOutcome.REJECT
    assert "as of 2011-06-17" in verdict.reason


@pytest.mark.parametrize(
    "other",
    [
        measurement(0.7, "d2"),
        measurement(0.7, as_of=LATER),
        measurement(0.7, task="bids"),
        measurement(0.7, metric="logloss"),
    ],
)
def test_measurements_on_other_data_do_not_compare(other: object) -> None:
    verdict = MetricNotWorse().check(case(consumer=MEASURED, measured=[measurement(0.9)], measured_now=[other]))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, True)
    assert str(verdict) == (
        "auc on churn was never measured on the same data stamp and as-of for autoencoder-2 and autoencoder-1: "
        "measure it and run `portrait head register ads autoencoder-2 --task churn`"
    )
    unmeasured = MetricNotWorse().check(case(consumer=MEASURED, measured_now=[other]))
    assert unmeasured.reason == "auc on churn was never measured on autoencoder-2"


def test_the_first_version_needs_only_its_own_measurement() -> None:
    first = MetricNotWorse().check(case(consumer=MEASURED, assignment=None, measured=[measurement(0.6)]))
    assert first.accepted
    assert first.reason == "auc on churn is 0.6 on autoencoder-2, there is no version to compare it with"
    assert MetricNotWorse().check(case(consumer=MEASURED, assignment=None)).outcome is GateOutcome.WAIT
