import pytest

from portrait.registry.database.tables import PromotionKind
from portrait.registry.errors import Conflict, GateRefused, InvalidInput
from portrait.registry.gates.policy import POLICY
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation, read_state
from tests.registry.factories import new_version, reads, vector_facts, with_versions


@pytest.fixture
def three(registry: Registry) -> Registry:
    """A registry acting for ada, with three ready versions and a consumer that reads the first."""
    acting = with_versions(registry, 3)
    acting.promotions.promote("ads", "autoencoder-1")
    return acting


def test_a_canary_is_judged_and_stands_beside_the_stable_version(three: Registry) -> None:
    generation = read_generation(three.database)
    begun = three.promotions.promote("ads", "autoencoder-2", "try it", canary_share=0.05)
    assert (begun.kind, begun.revision, begun.reason) == (PromotionKind.CANARY, 2, "try it")
    assert (begun.from_version, begun.to_version) == ("autoencoder-1", "autoencoder-1")
    assert (begun.canary, begun.canary_share) == ("autoencoder-2", 0.05)
    assert [verdict.gate for verdict in begun.gates] == [gate.name for gate in POLICY]
    assert reads(three) == ("autoencoder-1", "autoencoder-2", 0.05)
    assert read_generation(three.database) == generation + 1
    assert read_state(three.database).assignments["ads"].canary == "autoencoder-2"


def test_a_canary_widens_narrows_and_finishes(three: Registry) -> None:
    for share in (0.05, 0.5, 0.25):
        promotion = three.promotions.promote("ads", "autoencoder-2", canary_share=share)
        assert reads(three) == ("autoencoder-1", "autoencoder-2", share)
    finished = three.promotions.finish_canary("ads", "good clicks")
    assert (finished.kind, finished.revision) == (PromotionKind.FINISH, promotion.revision + 1)
    assert (finished.from_version, finished.to_version) == ("autoencoder-1", "autoencoder-2")
    assert (finished.canary, finished.canary_share) == (None, None)
    assert [verdict.gate for verdict in finished.gates] == [gate.name for gate in POLICY]
    assert reads(three) == ("autoencoder-2", None, None)
    shares = [(row.kind, row.canary_share) for row in three.promotions.history("ads")]
    assert shares == [("promote", None), ("canary", 0.05), ("canary", 0.5), ("canary", 0.25), ("finish", None)]


def test_an_aborted_canary_leaves_the_stable_version(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-2", canary_share=0.05)
    generation = read_generation(three.database)
    aborted = three.promotions.abort_canary("ads", "clicks fell")
    assert (aborted.kind, aborted.from_version, aborted.to_version) == (
        PromotionKind.ABORT,
        "autoencoder-1",
        "autoencoder-1",
    )
    assert (aborted.canary, aborted.canary_share, aborted.gates, aborted.reason) == (None, None, (), "clicks fell")
    assert reads(three) == ("autoencoder-1", None, None)
    assert read_generation(three.database) == generation + 1


@pytest.mark.parametrize("version", ["autoencoder-2", "autoencoder-3"])
def test_a_stable_promotion_ends_the_canary(three: Registry, version: str) -> None:
    three.promotions.promote("ads", "autoencoder-2", canary_share=0.05)
    promoted = three.promotions.promote("ads", version)
    assert (promoted.kind, promoted.from_version, promoted.canary) == (PromotionKind.PROMOTE, "autoencoder-1", None)
    assert reads(three) == (version, None, None)


def test_what_no_longer_passes_can_neither_widen_nor_finish_but_narrow_and_abort(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-2", canary_share=0.2)
    three.evidence.record("autoencoder-2", vector_facts(not_finite=3))
    with pytest.raises(GateRefused, match="3 vectors hold numbers that are not finite"):
        three.promotions.promote("ads", "autoencoder-2", canary_share=0.5)
    with pytest.raises(GateRefused, match="3 vectors hold numbers that are not finite"):
        three.promotions.finish_canary("ads")
    narrowed = three.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    assert (narrowed.gates, narrowed.forced) == ((), False)
    assert three.promotions.finish_canary("ads", "I know", force=True).forced
    assert reads(three) == ("autoencoder-2", None, None)


def test_a_canary_needs_a_stable_version_that_is_another(three: Registry) -> None:
    three.consumers.add("search", "search team", "rank")
    with pytest.raises(
        Conflict, match=r"search reads nothing yet.*run `portrait promote search autoencoder-1` without"
    ):
        three.promotions.promote("search", "autoencoder-1", canary_share=0.1)
    with pytest.raises(Conflict, match="ads already reads autoencoder-1 for all users: choose another version"):
        three.promotions.promote("ads", "autoencoder-1", canary_share=0.1)
    assert reads(three, "search") == (None, None, None)


def test_one_canary_at_a_time(three: Registry) -> None:
    three.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    with pytest.raises(
        Conflict, match="canary autoencoder-2 open: run `portrait canary finish ads` or `portrait canary a"
    ):
        three.promotions.promote("ads", "autoencoder-3", canary_share=0.1)
    with pytest.raises(Conflict, match=r"already reads the canary autoencoder-2 at share 0\.1: give another share"):
        three.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    with pytest.raises(Conflict, match=r"beside the canary autoencoder-2: end that with `portrait canary abort ads`"):
        three.promotions.promote("ads", "autoencoder-1")
    assert len(three.promotions.history("ads")) == 2


def test_there_is_nothing_to_end_without_a_canary(three: Registry) -> None:
    for end in (three.promotions.finish_canary, three.promotions.abort_canary):
        with pytest.raises(
            Conflict, match=r"no canary open: begin one with `portrait promote ads VERSION --canary 0\.05`"
        ):
            end("ads")
    three.consumers.add("search", "search team", "rank")
    with pytest.raises(Conflict, match="search has no canary open"):
        three.promotions.abort_canary("search")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_share_lies_between_nobody_and_everybody(three: Registry, share: float) -> None:
    with pytest.raises(InvalidInput, match="give a number between 0 and 1"):
        three.promotions.promote("ads", "autoencoder-2", canary_share=share)
    assert reads(three) == ("autoencoder-1", None, None)


def test_a_canary_is_gated_like_a_promotion(three: Registry) -> None:
    three.versions.register(new_version("run-4"))
    with pytest.raises(GateRefused, match=r"promote ads autoencoder-4 --canary 0\.1 --dry-run`") as refusal:
        three.promotions.promote("ads", "autoencoder-4", "go", canary_share=0.1, force=True)
    assert not all(verdict.forceable for verdict in refusal.value.verdicts)


def test_history_tells_the_canary_of_any_time(three: Registry) -> None:
    begun = three.promotions.promote("ads", "autoencoder-2", canary_share=0.1)
    three.promotions.abort_canary("ads")
    then = three.promotions.history("ads", at=begun.promoted_at)[-1]
    assert (then.to_version, then.canary, then.canary_share) == ("autoencoder-1", "autoencoder-2", 0.1)
