from typing import Any

import pytest

from portrait.registry.gates.health import VectorsAreHealthy
from portrait.registry.records.verdicts import GateOutcome, Verdict
from tests.registry.gates.cases import artifact, case, consumer, with_vectors


def judged(users: int = 1000, gates: dict[str, float] | None = None, **fields: Any) -> Verdict:
    evidence = with_vectors(users=users, **{"dimension": 120, **fields})
    return VectorsAreHealthy().check(case(evidence=evidence, consumer=consumer(**gates or {})))


def test_healthy_vectors_are_accepted() -> None:
    assert judged().reason == "1,000 vectors of autoencoder-2 are finite and of sane norms"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"not_finite": 1}, "1 vectors hold numbers that are not finite"),
        ({"norm_median": 0.0}, "the median norm is 0, most vectors say nothing"),
        ({"norm_median": float("nan")}, "the median norm is nan"),
        (
            {"norm_median": 1.0, "norm_largest": 100.1},
            "the largest norm is 100.1, the median 1, the limit is 100 times",
        ),
        ({"norm_largest": float("nan")}, "the largest norm is nan"),
        ({"norm_largest": float("inf")}, "the largest norm is inf"),
        ({"collapsed_dimensions": 7}, "5.8% of the dimensions are the same for everybody, the limit is 5%"),
        ({"priors": 501}, "50.1% of the vectors are the prior, the limit is 50%"),
        ({"users_embedded": 400, "priors": 300}, "75% of the vectors are the prior"),
    ],
)
def test_ill_vectors_are_rejected_with_what_is_wrong(fields: dict[str, Any], said: str) -> None:
    verdict = judged(**fields)
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.REJECT, True)
    assert verdict.reason.startswith(f"version autoencoder-2: {said}")
    assert verdict.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"norm_median": 1.0, "norm_largest": 100.0},
        {"collapsed_dimensions": 6},
        {"priors": 500},
        {"gates": {"max_prior_share": 1.0}, "priors": 1000},
        {"gates": {"max_collapsed": 1.0}, "collapsed_dimensions": 120},
    ],
)
def test_what_is_within_the_limits_is_accepted(fields: dict[str, Any]) -> None:
    assert judged(**fields).accepted


def test_the_consumers_own_limits_count() -> None:
    assert not judged(gates={"max_prior_share": 0.1}, priors=101).accepted
    assert not judged(gates={"max_collapsed": 0.0}, collapsed_dimensions=1).accepted


def test_without_vectors_there_is_nothing_to_judge() -> None:
    nothing = judged(users_embedded=0, norm_median=0.0, norm_largest=0.0)
    assert (nothing.outcome, nothing.remedy) == (GateOutcome.WAIT, "run `portrait backfill autoencoder-2`")
    assert judged(users=0, norm_median=0.0, norm_largest=0.0).accepted
    assert VectorsAreHealthy().check(case(evidence={"artifact": artifact()})).outcome is GateOutcome.WAIT
