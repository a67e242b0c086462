"""The policies as a whole: over the product of states, exactly the rules that should object do."""

from datetime import timedelta
from functools import cache
from itertools import product
from typing import Any

import pytest

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import GateRefused
from portrait.registry.gates.policy import ROLLBACK_POLICY, require_passed, verdicts
from portrait.registry.gates.rule import GateFacts, Measurement
from portrait.registry.records.records import Consumer
from portrait.registry.records.verdicts import GateOutcome, Verdict
from tests.registry.factories import AS_OF
from tests.registry.gates.cases import (
    FINISHED,
    NOW,
    artifact,
    backfill,
    case,
    consumer,
    head,
    measurement,
    vectors,
    version,
)

BEFORE_BACKFILL = FINISHED - timedelta(minutes=10)
TOO_OLD = NOW - timedelta(minutes=61)

# What each part of the facts may be. The oracles below know only these names.
ARTIFACTS = {
    "good": artifact(),
    "unseen": None,
    "seen before backfill": artifact(at=BEFORE_BACKFILL),
    "seen long ago": artifact(at=TOO_OLD),
    "broken": artifact(loads=False, fingerprint=None),
    "broken, seen long ago": artifact(loads=False, fingerprint=None, at=TOO_OLD),
    "of another space": artifact(fingerprint="f9"),
}
BACKFILLS = {"complete": backfill(), "partial": backfill(9, 10), "none": None}
VECTORS = {
    "good": vectors(),
    "unseen": None,
    "seen before backfill": vectors(at=BEFORE_BACKFILL),
    "seen long ago": vectors(at=TOO_OLD),
    "of few users": vectors(users_embedded=8),
    "of no user": vectors(users_embedded=0, norm_median=0.0, norm_largest=0.0),
    "trailing the log": vectors(watermark_lag=90_000.0),
    "trailing histories": vectors(refresh_lag=90_000.0, users_behind=1),
    "not finite": vectors(not_finite=1),
    "collapsed": vectors(collapsed_dimensions=1),
    "priors": vectors(priors=6),
    "trailing and collapsed": vectors(watermark_lag=90_000.0, collapsed_dimensions=8),
}
HEADS = {
    "not wanted": (consumer(), ()),
    "wanted": (consumer(wants_head=True), ()),
    "wanted and there": (consumer(wants_head=True), (head(),)),
    "not wanted, of another space": (consumer(), (head("f9"),)),
    "wanted, of another space": (consumer(wants_head=True), (head("f9"),)),
}
METRICS: dict[str, tuple[dict[str, Any], list[float], list[float], bool]] = {
    "no task": ({}, [], [], True),
    "unmeasured": ({}, [], [0.7], True),
    "present unmeasured": ({}, [0.7], [], True),
    "first version": ({}, [0.7], [], False),
    "first version, unmeasured": ({}, [], [], False),
    "better": ({}, [0.8], [0.7], True),
    "worse within tolerance": ({"tolerance": 0.2}, [0.6], [0.7], True),
    "worse": ({"tolerance": 0.05}, [0.6], [0.7], True),
    "higher where lower is better": ({"higher_is_better": False}, [0.8], [0.7], True),
}
HEALTHY = case()

Objections = dict[str, tuple[GateOutcome, bool]]
WAIT, FINAL_WAIT = (GateOutcome.WAIT, True), (GateOutcome.WAIT, False)
REJECT, FINAL_REJECT = (GateOutcome.REJECT, True), (GateOutcome.REJECT, False)


def of_artifact(found: str, heads: str, finished: str) -> Objections:
    """Who objects to an artifact, beside a head and a newest finished backfill."""
    objections: Objections = {}
    waits = found == "seen long ago" or (found == "seen before backfill" and finished != "none")
    if waits:
        objections |= {"artifact-loads": WAIT, "fingerprint-intact": WAIT}
    if found == "unseen":
        objections |= {"artifact-loads": FINAL_WAIT, "fingerprint-intact": FINAL_WAIT}
    if "broken" in found:
        objections |= {"artifact-loads": FINAL_REJECT, "fingerprint-intact": FINAL_WAIT}
    if found == "of another space" or "of another space" in heads:
        objections["fingerprint-intact"] = FINAL_REJECT
    return objections


def vectors_unknown(seen: str, finished: str) -> bool:
    """Whether there is no look at the vectors to rely upon."""
    return seen in ("unseen", "seen long ago") or (seen == "seen before backfill" and finished != "none")


def expected(state: str, found: str, finished: str, seen: str, heads: str, metric: str) -> Objections:
    """What the policy of promotions must say, by the words of its documentation."""
    objections = of_artifact(found, heads, finished)
    if state in ("registered", "backfilling"):
        objections["version-is-ready"] = WAIT
    if state in ("failed", "retiring", "retired"):
        objections["version-is-ready"] = FINAL_REJECT
    unknown = vectors_unknown(seen, finished)
    if finished != "complete" or unknown or seen in ("of few users", "of no user"):
        objections["coverage-is-complete"] = WAIT
    if unknown or seen in ("trailing the log", "trailing and collapsed"):
        objections["watermark-lag"] = WAIT
    if unknown or seen == "trailing histories":
        objections["refresh-lag"] = WAIT
    if heads.startswith("wanted") and heads != "wanted and there":
        objections["head-is-ready"] = WAIT
    if "unmeasured" in metric:
        objections["metric-not-worse"] = WAIT
    if metric in ("worse", "higher where lower is better"):
        objections["metric-not-worse"] = REJECT
    if unknown or seen == "of no user":
        objections["vectors-are-healthy"] = WAIT
    if seen in ("not finite", "collapsed", "priors", "trailing and collapsed"):
        objections["vectors-are-healthy"] = REJECT
    return objections


def expected_of_rollback(state: str, found: str, finished: str, seen: str, heads: str) -> Objections:
    """What the policy of rollbacks must say: nothing of lag, health, metric and whether the version is ready."""
    objections = of_artifact(found, heads, finished)
    if state in ("failed", "retiring", "retired"):
        objections["version-is-live"] = FINAL_REJECT
    if finished == "none" or vectors_unknown(seen, finished) or seen in ("of few users", "of no user"):
        objections["vectors-still-cover"] = WAIT
    return objections


@cache
def asking(heads: str, metric: str) -> Consumer:
    wants_head = HEADS[heads][0].wants_head
    return consumer(wants_head) if metric == "no task" else consumer(wants_head, task="churn", **METRICS[metric][0])


@cache
def measured(metric: str) -> dict[str, list[Measurement]]:
    _, mine, present, _ = METRICS[metric]
    # The present version was measured on other data too, which compares with nothing.
    other = measurement(0.99, "d0", AS_OF - timedelta(days=1))
    return {
        "measured": [measurement(value) for value in mine],
        "measured_now": [other, *(measurement(value) for value in present)],
    }


VERSIONS = {state: version(state) for state in VersionState}


def facts_of(
    state: VersionState, found: str, finished: str, seen: str, heads: str, metric: str, share: float | None
) -> GateFacts:
    evidence = {"artifact": ARTIFACTS[found], "vectors": VECTORS[seen]}
    reads = METRICS[metric][3]
    return GateFacts(
        consumer=asking(heads, metric),
        assignment=HEALTHY.assignment if reads else None,
        version=VERSIONS[state],
        backfill=BACKFILLS[finished],
        now=NOW,
        evidence={kind: one for kind, one in evidence.items() if one is not None},  # type: ignore[misc]
        heads=HEADS[heads][1],
        canary_share=share,
        **measured(metric),
    )


def objections(answers: tuple[Verdict, ...]) -> Objections:
    assert all(bool(answer.remedy) != answer.accepted and answer.reason for answer in answers)
    return {answer.gate: (answer.outcome, answer.forceable) for answer in answers if not answer.accepted}


@pytest.mark.slow
def test_over_the_product_of_states_exactly_the_right_gates_object() -> None:
    for combination in product(VersionState, ARTIFACTS, BACKFILLS, VECTORS, HEADS, METRICS):
        said = [objections(verdicts(facts_of(*combination, share=share))) for share in (None, 0.1)]
        assert said == [expected(*combination)] * 2, combination


def test_over_the_product_of_states_exactly_the_right_gates_object_to_a_rollback() -> None:
    for combination in product(VersionState, ARTIFACTS, BACKFILLS, VECTORS, HEADS):
        facts = facts_of(*combination, metric="worse", share=None)
        assert objections(verdicts(facts, ROLLBACK_POLICY)) == expected_of_rollback(*combination), combination


def test_the_policies_ask_every_gate_in_order() -> None:
    assert [verdict.gate for verdict in verdicts(case())] == [
        "version-is-ready",
        "artifact-loads",
        "fingerprint-intact",
        "coverage-is-complete",
        "watermark-lag",
        "refresh-lag",
        "head-is-ready",
        "metric-not-worse",
        "vectors-are-healthy",
    ]
    assert [verdict.gate for verdict in verdicts(case(), ROLLBACK_POLICY)] == [
        "version-is-live",
        "artifact-loads",
        "fingerprint-intact",
        "vectors-still-cover",
        "lag-is-told",
    ]


def verdict(gate: str, outcome: GateOutcome, forceable: bool = True) -> Verdict:
    return Verdict(gate, outcome, f"{gate} says so", "" if outcome is GateOutcome.ACCEPT else "do this", forceable)


def test_what_every_gate_accepts_passes_and_needs_no_force() -> None:
    answers = (verdict("a", GateOutcome.ACCEPT), verdict("b", GateOutcome.ACCEPT, forceable=False))
    for force in (False, True):
        assert require_passed("ads", answers, force=force) is False


@pytest.mark.parametrize("outcome", [GateOutcome.WAIT, GateOutcome.REJECT])
def test_force_passes_over_waits_and_rejects(outcome: GateOutcome) -> None:
    answers = (verdict("a", GateOutcome.ACCEPT), verdict("b", outcome), verdict("c", outcome))
    assert require_passed("ads", answers, force=True) is True
    with pytest.raises(GateRefused) as refusal:
        require_passed("ads", answers, force=False)
    assert str(refusal.value) == "consumer ads stays as it is, b says so: do this (not accepted either: c)"
    assert refusal.value.verdicts == answers


@pytest.mark.parametrize("outcome", [GateOutcome.WAIT, GateOutcome.REJECT])
def test_force_never_passes_over_what_is_final(outcome: GateOutcome) -> None:
    answers = (verdict("a", GateOutcome.REJECT), verdict("b", outcome, forceable=False))
    with pytest.raises(GateRefused) as refusal:
        require_passed("ads", answers, force=True)
    assert str(refusal.value) == "consumer ads stays as it is, b says so: do this, and no force passes over that"
    with pytest.raises(GateRefused, match=r"a says so: do this \(not accepted either: b\)$"):
        require_passed("ads", answers, force=False)
