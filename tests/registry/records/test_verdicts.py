import json

import pytest

from portrait.registry.records.verdicts import GateOutcome, Verdict

VERDICT = Verdict("coverage-is-complete", GateOutcome.WAIT, "9 of 10", "run it")


@pytest.mark.parametrize("forceable", [True, False])
@pytest.mark.parametrize("outcome", list(GateOutcome))
def test_a_verdict_survives_being_stored(outcome: GateOutcome, forceable: bool) -> None:
    verdict = Verdict("gate", outcome, "reason", "remedy", forceable)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_a_verdict_of_before_there_was_force_is_forceable() -> None:
    stored = {"gate": "version-is-ready", "outcome": "accept", "reason": "version autoencoder-1 is ready", "remedy": ""}
    assert Verdict.from_json(stored).forceable


def test_a_verdict_reads_as_reason_and_remedy() -> None:
    assert str(VERDICT) == "9 of 10: run it"
    assert str(Verdict("gate", GateOutcome.ACCEPT, "all is well")) == "all is well"


@pytest.mark.parametrize("outcome", list(GateOutcome))
def test_only_accept_lets_pass(outcome: GateOutcome) -> None:
    assert Verdict("gate", outcome, "").accepted == (outcome is GateOutcome.ACCEPT)
