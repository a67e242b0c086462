import dataclasses
from datetime import timedelta

import pytest

from registry.gates import POLICY, CoverageIsComplete, Facts, VersionIsReady, verdicts
from registry.records import Backfill, Consumer, EmbeddingVersion
from registry.tables import VersionState
from registry.verdicts import Outcome, Verdict
from tests.registry.factories import AS_OF

VERSION = EmbeddingVersion(
    id="autoencoder-1",
    family="autoencoder",
    number=1,
    fingerprint="f",
    dimension=8,
    state=VersionState.READY,
    failure=None,
    run="run-1",
    artifact="artifacts/run-1",
    parent=None,
    snapshot="snapshot-1",
    data_from=None,
    data_to=AS_OF,
    feature_schema={},
    config={},
    metrics={},
    code_revision="abc",
    created_at=AS_OF,
    last_as_of=AS_OF,
)


def facts(state: VersionState = VersionState.READY, done: int | None = 10, expected: int = 10) -> Facts:
    backfill = None
    if done is not None:
        backfill = Backfill(1, VERSION.id, "snapshot-1", AS_OF, {0: done}, expected, AS_OF, AS_OF + timedelta(hours=1))
    version = dataclasses.replace(VERSION, state=state, failure="diverged" if state == VersionState.FAILED else None)
    return Facts(Consumer("ads", "team", "", AS_OF), None, version, backfill)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (VersionState.READY, Outcome.ACCEPT),
        (VersionState.REGISTERED, Outcome.WAIT),
        (VersionState.BACKFILLING, Outcome.WAIT),
        (VersionState.RETIRING, Outcome.REJECT),
        (VersionState.RETIRED, Outcome.REJECT),
        (VersionState.FAILED, Outcome.REJECT),
    ],
)
@pytest.mark.parametrize("done", [None, 0, 10])
def test_readiness_looks_at_the_state_alone(state: VersionState, outcome: Outcome, done: int | None) -> None:
    verdict = VersionIsReady().check(facts(state, done))
    assert verdict.outcome is outcome
    assert state in verdict.reason
    assert bool(verdict.remedy) == (outcome is not Outcome.ACCEPT)


@pytest.mark.parametrize(
    ("done", "expected", "outcome"),
    [
        (None, 10, Outcome.WAIT),
        (0, 10, Outcome.WAIT),
        (9, 10, Outcome.WAIT),
        (10, 10, Outcome.ACCEPT),
        (0, 0, Outcome.ACCEPT),
    ],
)
@pytest.mark.parametrize("state", list(VersionState))
def test_coverage_looks_at_the_backfill_alone(
    state: VersionState, done: int | None, expected: int, outcome: Outcome
) -> None:
    assert CoverageIsComplete().check(facts(state, done, expected)).outcome is outcome


def test_a_refusal_says_how_much_is_missing_and_what_to_do() -> None:
    verdict = CoverageIsComplete().check(facts(done=912, expected=1000))
    assert str(verdict) == (
        "version autoencoder-1 covers 912 of 1,000 users (91.2%): run `portrait backfill autoencoder-1`"
    )


def test_the_policy_asks_every_gate_in_order() -> None:
    answers = verdicts(facts(VersionState.REGISTERED, None))
    assert [answer.gate for answer in answers] == [gate.name for gate in POLICY]
    assert [answer.gate for answer in answers] == ["version-is-ready", "coverage-is-complete"]
    assert not any(answer.accepted for answer in answers)


def test_a_verdict_survives_being_stored() -> None:
    verdict = Verdict("coverage-is-complete", Outcome.WAIT, "9 of 10", "run it")
    assert Verdict.from_json(verdict.to_json()) == verdict
