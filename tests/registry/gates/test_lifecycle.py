import pytest

from portrait.registry.database.tables import VersionState
from portrait.registry.gates.artifact import VersionIsLive, VersionIsReady
from portrait.registry.records.verdicts import GateOutcome
from tests.registry.gates.cases import case, version


@pytest.mark.parametrize(
    ("state", "said", "outcome", "forceable"),
    [
        (VersionState.READY, "version autoencoder-2 is ready", GateOutcome.ACCEPT, True),
        (
            VersionState.REGISTERED,
            "registered, not ready: run `portrait backfill autoencoder-2`",
            GateOutcome.WAIT,
            True,
        ),
        (
            VersionState.BACKFILLING,
            "backfilling, not ready: run `portrait backfill autoencoder-2`",
            GateOutcome.WAIT,
            True,
        ),
        (VersionState.RETIRING, "is retiring: promote another version", GateOutcome.REJECT, False),
        (VersionState.RETIRED, "is retired: promote another version", GateOutcome.REJECT, False),
        (VersionState.FAILED, "failed (diverged): promote another version", GateOutcome.REJECT, False),
    ],
)
def test_readiness_by_state(state: VersionState, said: str, outcome: GateOutcome, forceable: bool) -> None:
    verdict = VersionIsReady().check(case(version=version(state)))
    assert (verdict.outcome, verdict.forceable) == (outcome, forceable)
    assert str(verdict).endswith(said)


@pytest.mark.parametrize("state", list(VersionState))
def test_one_may_go_back_to_what_has_not_ended(state: VersionState) -> None:
    verdict = VersionIsLive().check(case(version=version(state)))
    ended = state in (VersionState.FAILED, VersionState.RETIRING, VersionState.RETIRED)
    assert (verdict.outcome, verdict.forceable) == (
        (GateOutcome.REJECT, False) if ended else (GateOutcome.ACCEPT, True)
    )
