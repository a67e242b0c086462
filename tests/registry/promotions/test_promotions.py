from datetime import datetime, timedelta
from typing import Any

import pytest

import portrait.registry.promotions.change as change_module
from portrait.registry.access.audit import Action, AuditOutcome
from portrait.registry.database.tables import PromotionKind
from portrait.registry.errors import Conflict, GateRefused, InvalidInput, NotFound
from portrait.registry.gates.policy import POLICY
from portrait.registry.records.evidence_facts import ArtifactFacts
from portrait.registry.records.verdicts import GateOutcome
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation
from tests.registry.factories import new_version, reads, vector_facts, with_versions


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A registry acting for ada, with a consumer and three ready versions."""
    return with_versions(registry, 3)


def test_a_promotion_writes_assignment_history_and_generation(three: Registry) -> None:
    generation = read_generation(three.database)
    promotion = three.promotions.promote("ads", "autoencoder-1", "first one")
    assert (promotion.revision, promotion.kind, promotion.from_version) == (1, PromotionKind.PROMOTE, None)
    assert (promotion.to_version, promotion.actor, promotion.reason) == ("autoencoder-1", "ada", "first one")
    assert (promotion.canary, promotion.canary_share, promotion.forced) == (None, None, False)
    assert [(verdict.gate, verdict.outcome) for verdict in promotion.gates] == [
        (gate.name, GateOutcome.ACCEPT) for gate in POLICY
    ]
    assignment = three.consumers.assignment("ads")
    assert assignment is not None
    assert (assignment.stable, assignment.canary, assignment.revision) == ("autoencoder-1", None, 1)
    assert assignment.changed_at == promotion.promoted_at
    assert three.promotions.history("ads") == [promotion]
    assert read_generation(three.database) == generation + 1


def test_consumers_move_on_their_own(three: Registry) -> None:
    three.consumers.add("search", "search team", "rank")
    for consumer in ("ads", "search"):
        three.promotions.promote(consumer, "autoencoder-1")
    three.promotions.promote("ads", "autoencoder-2")
    assert (reads(three, "ads")[0], reads(three, "search")[0]) == ("autoencoder-2", "autoencoder-1")
    assert len(three.promotions.history("search")) == 1


def test_promoting_to_what_is_read_already_is_refused(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1")
    generation = read_generation(three.database)
    with pytest.raises(Conflict, match="ads already reads autoencoder-1: nothing to promote"):
        three.promotions.promote("ads", "autoencoder-1", force=True, reason="again")
    assert len(three.promotions.history("ads")) == 1
    assert read_generation(three.database) == generation


def test_a_stale_revision_is_refused_and_told_who_was_faster(three: Registry) -> None:
    grace = three.acting("grace").promotions
    with pytest.raises(Conflict, match=r"revision 0, not 4 \(nobody has changed it\)"):
        grace.promote("ads", "autoencoder-1", expected_revision=4)
    three.promotions.promote("ads", "autoencoder-1", expected_revision=0)
    grace.promote("ads", "autoencoder-2", expected_revision=1)
    with pytest.raises(Conflict, match=r"revision 2, not 1 \(grace made it read autoencoder-2 at 20"):
        three.promotions.promote("ads", "autoencoder-3", expected_revision=1)
    grace.promote("ads", "autoencoder-1", canary_share=0.25)
    with pytest.raises(Conflict, match=r"3, not 2 \(grace made it read the canary autoencoder-1 at share 0.25 at 20"):
        three.promotions.abort_canary("ads", expected_revision=2)
    grace.abort_canary("ads")
    with pytest.raises(Conflict, match=r"4, not 3 \(grace ended its canary at 20"):
        three.promotions.finish_canary("ads", expected_revision=3)
    with pytest.raises(Conflict, match=r"4, not 3"):
        three.promotions.rollback("ads", expected_revision=3)
    assert reads(three) == ("autoencoder-2", None, None)


def test_gates_that_do_not_accept_keep_everything_as_it_is(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1")
    three.versions.register(new_version("run-4"))
    three.versions.fail("autoencoder-3", "diverged")
    generation = read_generation(three.database)
    with pytest.raises(
        GateRefused,
        match=r"ads stays as it is, version autoencoder-4 is registered, not ready: run `portrait backfill "
        r"autoencoder-4` \(not accepted either: artifact-loads, fingerprint-intact, coverage-is-complete, "
        r"watermark-lag, refresh-lag, vectors-are-healthy\)",
    ) as refusal:
        three.promotions.promote("ads", "autoencoder-4")
    assert [verdict.gate for verdict in refusal.value.verdicts] == [gate.name for gate in POLICY]
    with pytest.raises(GateRefused, match=r"autoencoder-3 failed \(diverged\): promote another version$"):
        three.promotions.promote("ads", "autoencoder-3")
    assert reads(three) == ("autoencoder-1", None, None)
    assert len(three.promotions.history("ads")) == 1
    assert read_generation(three.database) == generation


def test_force_passes_over_gates_and_is_kept_with_its_reason(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-1")
    three.evidence.record("autoencoder-2", vector_facts(users_embedded=5, watermark_lag=1e6))
    with pytest.raises(GateRefused, match=r"covers 50% of users, the gate wants 99\.9%"):
        three.promotions.promote("ads", "autoencoder-2", "hurry")
    with pytest.raises(InvalidInput, match="force without a reason: say with --reason"):
        three.promotions.promote("ads", "autoencoder-2", " ", force=True)
    forced = three.promotions.promote("ads", "autoencoder-2", "hurry", force=True)
    passed_over = [verdict.gate for verdict in forced.gates if not verdict.accepted]
    assert passed_over == ["coverage-is-complete", "watermark-lag"]
    assert (forced.forced, forced.reason) == (True, "hurry")
    assert three.promotions.history("ads")[-1] == forced
    assert three.audit.list()[-1].detail["forced"] is True


def test_force_that_was_not_needed_is_not_recorded(three: Registry) -> None:
    assert three.promotions.promote("ads", "autoencoder-1", "to be sure", force=True).forced is False


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (ArtifactFacts(False, None, "weights.safetensors is missing"), "does not load"),
        (ArtifactFacts(True, "another"), "has fingerprint fingerprint-of-run-2, but artifacts/run-2 has another"),
    ],
)
def test_no_force_passes_over_a_broken_artifact(three: Registry, found: ArtifactFacts, said: str) -> None:
    three.evidence.record("autoencoder-2", found, vector_facts(users_embedded=5))
    with pytest.raises(GateRefused, match=f"{said}.*, and no force passes over that"):
        three.promotions.promote("ads", "autoencoder-2", "hurry", force=True)
    assert reads(three) == (None, None, None)


def test_no_force_passes_over_an_artifact_that_nobody_has_looked_at(three: Registry) -> None:
    three.versions.register(new_version("run-4"))
    with pytest.raises(GateRefused, match="nobody has looked at the artifact of autoencoder-4 yet"):
        three.promotions.promote("ads", "autoencoder-4", "hurry", force=True)
    three.evidence.record("autoencoder-4", ArtifactFacts(True, "fingerprint-of-run-4"))
    assert three.promotions.promote("ads", "autoencoder-4", "hurry", force=True).forced


def test_a_check_is_what_the_gates_will_say_and_changes_nothing(three: Registry) -> None:
    generation, events = read_generation(three.database), three.audit.list()
    three.evidence.record("autoencoder-2", vector_facts(watermark_lag=1e6))
    answers = three.promotions.check("ads", "autoencoder-2")
    assert [verdict.gate for verdict in answers] == [gate.name for gate in POLICY]
    assert [verdict.gate for verdict in answers if not verdict.accepted] == ["watermark-lag"]
    expected = three.promotions.check("ads", "autoencoder-1")
    assert all(verdict.accepted for verdict in expected)
    promoted = three.promotions.promote("ads", "autoencoder-1").gates
    assert [(verdict.gate, verdict.outcome) for verdict in promoted] == [(v.gate, v.outcome) for v in expected]
    three.promotions.promote("ads", "autoencoder-3", canary_share=0.2)
    assert len(three.promotions.check("ads", "autoencoder-3", 0.4)) == len(POLICY)
    assert three.promotions.check("ads", "autoencoder-3", 0.1) == ()
    assert read_generation(three.database) == generation + 2
    assert len(three.audit.list()) == len(events) + 2


def test_a_check_refuses_what_the_promotion_would(three: Registry) -> None:
    with pytest.raises(Conflict, match="reads nothing yet"):
        three.promotions.check("ads", "autoencoder-1", 0.5)
    three.promotions.promote("ads", "autoencoder-1")
    with pytest.raises(Conflict, match="already reads autoencoder-1"):
        three.promotions.check("ads", "autoencoder-1")
    with pytest.raises(NotFound, match="no consumer 'adz'"):
        three.promotions.check("adz", "autoencoder-1")
    with pytest.raises(NotFound, match="no version 'autoencoder-9'"):
        three.promotions.check("ads", "autoencoder-9")
    with pytest.raises(InvalidInput, match=r"canary share 1\.5"):
        three.promotions.check("ads", "autoencoder-2", 1.5)


def test_what_is_unknown_or_unsigned_is_refused(three: Registry) -> None:
    with pytest.raises(NotFound, match="no consumer 'adz'; known: ads"):
        three.promotions.promote("adz", "autoencoder-1")
    with pytest.raises(NotFound, match="no version 'autoencoder-9'; known: autoencoder-1, autoencoder-2"):
        three.promotions.promote("ads", "autoencoder-9")
    with pytest.raises(InvalidInput, match="actor is empty"):
        three.acting(" ").promotions.promote("ads", "autoencoder-1")
    with pytest.raises(NotFound):
        three.promotions.history("adz")
    assert three.promotions.history("ads") == []


def test_changes_and_refusals_are_audited(three: Registry) -> None:
    seen = three.audit.list()[-1].id
    three.promotions.promote("ads", "autoencoder-1", "first")
    with pytest.raises(Conflict):
        three.acting("grace").promotions.promote("ads", "autoencoder-2", expected_revision=7)
    three.promotions.promote("ads", "autoencoder-2", "try", canary_share=0.05)
    three.promotions.finish_canary("ads")
    three.promotions.promote("ads", "autoencoder-3", canary_share=0.05)
    three.promotions.abort_canary("ads")
    three.acting("grace").promotions.rollback("ads", "worse")
    events = three.audit.list(after=seen)
    assert {event.subject for event in events} == {"consumer ads"}
    assert [(event.actor, event.action, event.outcome) for event in events] == [
        ("ada", Action.PROMOTE, AuditOutcome.DONE),
        ("grace", Action.PROMOTE, AuditOutcome.REFUSED),
        ("ada", Action.CANARY, AuditOutcome.DONE),
        ("ada", Action.CANARY_FINISH, AuditOutcome.DONE),
        ("ada", Action.CANARY, AuditOutcome.DONE),
        ("ada", Action.CANARY_ABORT, AuditOutcome.DONE),
        ("grace", Action.ROLLBACK, AuditOutcome.DONE),
    ]
    assert "revision 1, not 7 (ada made it read autoencoder-1" in events[1].detail["reason"]
    assert events[2].detail == {
        "from": "autoencoder-1",
        "to": "autoencoder-1",
        "canary": "autoencoder-2",
        "share": 0.05,
        "revision": 2,
        "reason": "try",
        "forced": False,
    }
    details = [event.detail for event in events if event.outcome is AuditOutcome.DONE]
    moved = [(detail["from"], detail["to"], detail["canary"]) for detail in details]
    assert moved == [
        (None, "autoencoder-1", None),
        ("autoencoder-1", "autoencoder-1", "autoencoder-2"),
        ("autoencoder-1", "autoencoder-2", None),
        ("autoencoder-2", "autoencoder-2", "autoencoder-3"),
        ("autoencoder-2", "autoencoder-2", None),
        ("autoencoder-2", "autoencoder-1", None),
    ]


def test_history_at_a_time_ends_with_what_was_read_then(three: Registry) -> None:
    first, second, third = (three.promotions.promote("ads", f"autoencoder-{n}", f"number {n}") for n in (1, 2, 3))
    history = three.promotions.history
    assert history("ads") == [first, second, third]
    assert history("ads", at=second.promoted_at) == [first, second]
    assert history("ads", at=second.promoted_at - timedelta(microseconds=1)) == [first]
    assert history("ads", at=first.promoted_at - timedelta(microseconds=1)) == []
    with pytest.raises(InvalidInput, match="no time zone"):
        history("ads", at=datetime(2026, 1, 1))


def test_a_clock_that_runs_behind_does_not_disorder_history(three: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    first = three.promotions.promote("ads", "autoencoder-1")

    class Behind(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Behind":
            return super().now(tz) - timedelta(hours=1)

    monkeypatch.setattr(change_module, "datetime", Behind)
    second = three.promotions.promote("ads", "autoencoder-2")
    assert second.promoted_at == first.promoted_at
    assert three.promotions.history("ads", at=first.promoted_at)[-1].to_version == "autoencoder-2"
