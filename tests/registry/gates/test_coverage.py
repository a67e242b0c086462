import random

import pytest

from portrait.registry.gates.coverage import CoverageIsComplete, VectorsStillCover
from portrait.registry.records.verdicts import GateOutcome
from tests.registry.gates.cases import artifact, backfill, case, consumer, with_vectors

LARGE = {"users": 1_000_000, "users_sampled": 20_000}


def test_complete_coverage_is_accepted_with_its_figure() -> None:
    evidence = with_vectors(**LARGE, users_embedded=19_990)
    assert CoverageIsComplete().check(case(evidence=evidence)).reason == (
        "19,990 of 20,000 users looked at have a vector of autoencoder-2"
    )


@pytest.mark.parametrize(
    ("done", "said"), [(None, "has no finished backfill"), (912, "covers 912 of 1,000 users (91.2%)")]
)
def test_a_backfill_is_waited_for(done: int | None, said: str) -> None:
    passed = None if done is None else backfill(done, 1000)
    verdict = CoverageIsComplete().check(case(backfill=passed))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, True)
    assert str(verdict) == f"version autoencoder-2 {said}: run `portrait backfill autoencoder-2`"


@pytest.mark.parametrize(
    ("embedded", "said"),
    [
        (18_240, "covers 91.2% of users, the gate wants 99.9%"),
        (19_979, "covers 99.89% of users, the gate wants 99.9%"),
        (0, "covers 0% of users, the gate wants 99.9%"),
    ],
)
def test_users_without_a_vector_are_waited_for(embedded: int, said: str) -> None:
    verdict = CoverageIsComplete().check(case(evidence=with_vectors(**LARGE, users_embedded=embedded)))
    assert verdict.outcome is GateOutcome.WAIT
    assert str(verdict) == f"version autoencoder-2 {said}: run `portrait backfill autoencoder-2`"


def test_coverage_is_measured_against_the_consumers_own_limit() -> None:
    evidence = with_vectors(users_embedded=9)
    for limit, outcome in (
        (0.9, GateOutcome.ACCEPT),
        (0.91, GateOutcome.WAIT),
        (1.0, GateOutcome.WAIT),
        (0.0, GateOutcome.ACCEPT),
    ):
        facts = case(evidence=evidence, consumer=consumer(min_coverage=limit))
        assert CoverageIsComplete().check(facts).outcome is outcome


def test_nobody_to_cover_is_covered() -> None:
    facts = case(backfill=backfill(0, 0), evidence=with_vectors(users=0))
    assert CoverageIsComplete().check(facts).accepted
    assert VectorsStillCover().check(facts).accepted


def test_without_a_look_at_the_vectors_nobody_knows() -> None:
    facts = case(evidence={"artifact": artifact()})
    for rule in (CoverageIsComplete(), VectorsStillCover()):
        verdict = rule.check(facts)
        assert (verdict.gate, verdict.outcome, verdict.forceable) == (rule.name, GateOutcome.WAIT, True)
        assert "nobody has looked at the vectors of autoencoder-2 yet" in verdict.reason


@pytest.mark.parametrize(
    ("known", "expected", "embedded", "accepted"),
    [
        (10, 10, 10, True),
        (10, 10, 9, False),
        (1000, 1000, 999, True),
        (1000, 1000, 998, False),
        (1000, 500, 500, True),  # as many came later
        (1000, 500, 499, False),
        (1000, 500, 900, True),  # and were refreshed meanwhile
        (800, 1000, 800, True),  # others were forgotten
        (1000, 0, 0, True),
    ],
)
def test_a_look_at_everybody_asks_for_whom_the_backfill_embedded(
    known: int, expected: int, embedded: int, accepted: bool
) -> None:
    facts = case(backfill=backfill(expected, expected), evidence=with_vectors(users=known, users_embedded=embedded))
    verdict = VectorsStillCover().check(facts)
    assert verdict.accepted == accepted
    if not accepted:
        assert verdict.outcome is GateOutcome.WAIT
        assert verdict.remedy == "run `portrait backfill autoencoder-2`"
        assert f"{embedded:,} of {known:,} users looked at have a vector" in verdict.reason


def test_a_sample_that_met_many_newcomers_by_chance_stops_no_rollback() -> None:
    """600 of 1,000 users were embedded: every draw of 100 passes, though most hold fewer than 59.94 of them."""
    draw = random.Random(0)
    users = [True] * 600 + [False] * 400
    draws = [sum(draw.sample(users, 100)) for _ in range(500)]
    assert min(draws) < 50
    for embedded in set(draws):
        evidence = with_vectors(users=1000, users_sampled=100, users_embedded=embedded)
        assert VectorsStillCover().check(case(backfill=backfill(600, 600), evidence=evidence)).accepted
    lost = with_vectors(users=1000, users_sampled=100, users_embedded=30)
    assert not VectorsStillCover().check(case(backfill=backfill(600, 600), evidence=lost)).accepted
