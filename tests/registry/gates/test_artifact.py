from datetime import timedelta

import pytest

from portrait.registry.gates.artifact import ArtifactLoads, FingerprintIntact
from portrait.registry.records.evidence_facts import Evidence
from portrait.registry.records.verdicts import GateOutcome, Verdict
from tests.registry.gates.cases import FINISHED, NOW, artifact, case, consumer, head

LOOK_ANEW = "run `portrait promote ads autoencoder-2 --dry-run`, which looks anew"


def judged(evidence: Evidence | None, **fields: object) -> tuple[Verdict, Verdict]:
    facts = case(evidence={"artifact": evidence} if evidence else {}, **fields)
    return ArtifactLoads().check(facts), FingerprintIntact().check(facts)


def test_a_recent_look_at_a_whole_artifact_is_accepted() -> None:
    loads, fingerprint = judged(artifact())
    assert (loads.accepted, fingerprint.accepted) == (True, True)
    assert "f1" in fingerprint.reason


def test_an_artifact_that_nobody_has_looked_at_is_never_passed() -> None:
    for verdict in judged(None):
        assert (verdict.outcome, verdict.forceable) == (GateOutcome.WAIT, False)
        assert str(verdict) == f"nobody has looked at the artifact of autoencoder-2 yet: {LOOK_ANEW}"


@pytest.mark.parametrize(
    ("at", "said"),
    [
        (NOW - timedelta(minutes=61), "nobody has looked at the artifact of autoencoder-2 since its newest backfill"),
        (FINISHED - timedelta(seconds=1), "nobody has looked at the artifact of autoencoder-2 since its newest backf"),
    ],
)
def test_a_look_from_before_the_backfill_is_waited_for(at: object, said: str) -> None:
    for verdict in judged(artifact(at=at)):  # type: ignore[arg-type]
        assert (verdict.outcome, verdict.forceable, verdict.remedy) == (GateOutcome.WAIT, True, LOOK_ANEW)
        assert verdict.reason.startswith(said)


def test_an_old_look_is_waited_for_at_the_consumers_own_limit() -> None:
    old = artifact(at=NOW - timedelta(minutes=20))
    assert all(verdict.accepted for verdict in judged(old))
    impatient = judged(old, consumer=consumer(evidence_seconds=60.0))
    assert [verdict.outcome for verdict in impatient] == [GateOutcome.WAIT] * 2
    assert impatient[0].reason == "the look at the artifact of autoencoder-2 is 20 minutes old, the limit is 1 minute"
    exactly = judged(old, consumer=consumer(evidence_seconds=1200.0))
    assert all(verdict.accepted for verdict in exactly)


def test_an_artifact_that_does_not_load_is_rejected_for_good() -> None:
    loads, fingerprint = judged(artifact(loads=False, fingerprint=None))
    assert (loads.outcome, loads.forceable) == (GateOutcome.REJECT, False)
    assert str(loads) == (
        "the artifact of autoencoder-2 does not load (gone): restore artifacts/run-2, or promote another version"
    )
    assert (fingerprint.outcome, fingerprint.forceable) == (GateOutcome.WAIT, False)
    assert "no fingerprint of artifacts/run-2 is known" in fingerprint.reason


def test_an_artifact_of_another_space_is_rejected_for_good_with_both_fingerprints() -> None:
    loads, fingerprint = judged(artifact(fingerprint="f9"))
    assert loads.accepted
    assert (fingerprint.outcome, fingerprint.forceable) == (GateOutcome.REJECT, False)
    assert "has fingerprint f1, but artifacts/run-2 has f9" in fingerprint.reason


def test_a_head_of_another_space_is_rejected_for_good_with_both_fingerprints() -> None:
    verdict = FingerprintIntact().check(case(heads=(head(id=3), head("f9", id=4))))
    assert (verdict.outcome, verdict.forceable) == (GateOutcome.REJECT, False)
    assert "autoencoder-2 has fingerprint f1, but head 4 was trained on f9" in verdict.reason


def test_what_speaks_against_an_artifact_does_not_age() -> None:
    old = NOW - timedelta(days=30)
    assert judged(artifact(loads=False, at=old))[0].outcome is GateOutcome.REJECT
    assert judged(artifact(fingerprint="f9", at=old))[1].outcome is GateOutcome.REJECT
