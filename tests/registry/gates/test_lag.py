import pytest

from portrait.registry.gates.lag import LagIsTold, RefreshLag, WatermarkLag
from portrait.registry.records.verdicts import GateOutcome
from tests.registry.gates.cases import artifact, case, consumer, with_vectors

DAY = 86_400.0


def test_a_version_that_trails_the_log_waits_for_a_backfill() -> None:
    verdict = WatermarkLag().check(case(evidence=with_vectors(watermark_lag=3.2 * DAY)))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, True)
    assert str(verdict) == (
        "version autoencoder-2 trails the log by 3.2 days, the limit is 1 day: run `portrait backfill autoencoder-2`"
    )


def test_users_who_trail_their_history_wait_for_the_refresh() -> None:
    verdict = RefreshLag().check(case(evidence=with_vectors(refresh_lag=2 * DAY, users_behind=1_200)))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, True)
    assert str(verdict) == (
        "1,200 users' vectors trail their history by up to 2 days at autoencoder-2, the limit is 1 day: "
        "let the refresh catch up, or run `portrait backfill autoencoder-2`"
    )


@pytest.mark.parametrize(
    ("lag", "limit", "accepted"),
    [(DAY, DAY, True), (DAY + 1, DAY, False), (0.0, 0.0, True), (0.001, 0.0, False), (-50.0, 0.0, True)],
)
def test_the_limit_is_the_consumers_own(lag: float, limit: float, accepted: bool) -> None:
    asks = consumer(max_watermark_lag=limit, max_refresh_lag=limit)
    facts = case(consumer=asks, evidence=with_vectors(watermark_lag=lag, refresh_lag=lag))
    assert WatermarkLag().check(facts).accepted == accepted
    assert RefreshLag().check(facts).accepted == accepted


def test_each_lag_is_judged_alone() -> None:
    facts = case(consumer=consumer(max_watermark_lag=10.0), evidence=with_vectors(watermark_lag=20.0, refresh_lag=20.0))
    assert (WatermarkLag().check(facts).accepted, RefreshLag().check(facts).accepted) == (False, True)


def test_a_lag_that_nobody_has_measured_is_waited_for() -> None:
    facts = case(evidence={"artifact": artifact()})
    assert [rule.check(facts).outcome for rule in (WatermarkLag(), RefreshLag())] == [GateOutcome.WAIT] * 2


@pytest.mark.parametrize("lag", [0.0, 1.0, 1e9])
def test_a_rollback_is_told_of_the_lag_and_never_stopped_by_it(lag: float) -> None:
    verdict = LagIsTold().check(case(evidence=with_vectors(watermark_lag=lag, refresh_lag=lag, users_behind=3)))
    assert verdict.accepted
    assert ("portrait backfill autoencoder-2" in verdict.reason) == (lag > 0)


def test_an_unknown_lag_does_not_stop_a_rollback_either() -> None:
    assert LagIsTold().check(case(evidence={})).reason == "nobody knows how far autoencoder-2 trails the log"
