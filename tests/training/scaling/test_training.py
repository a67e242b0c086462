"""One run: what it counts, what it measures, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from portrait.registry.errors import InvalidInput
from portrait.training.clue.batch import Sequences
from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.clue.trainee import ClueTrainee
from portrait.training.encoding.arrays import Int64
from portrait.training.scaling.downstream import recall
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting, sampled_step_cost
from portrait.training.scaling.training import CountedTrainee, run_config, train_run
from tests.training.scaling.prepared import CONFIG

CPU = torch.device("cpu")
SETTING = Setting("pico", users=100, sequence_length=8, batch=32, steps=20, seed=0)


@pytest.fixture(scope="module")
def run(prepared: PreparedSequences) -> Run:
    return train_run(prepared, CONFIG, SETTING, CPU)


def trainee(prepared: PreparedSequences, setting: Setting) -> ClueTrainee:
    return ClueTrainee(prepared.cut(setting.sequence_length), run_config(CONFIG, setting), CPU)


def test_a_run_is_logged_with_what_it_was_and_what_it_gave(run: Run, prepared: PreparedSequences) -> None:
    assert run.setting == SETTING and run.parameters == 8_352 and run.epochs == 20 * 32 / 100
    untrained = train_run(prepared, CONFIG, replace(SETTING, steps=1), CPU)
    assert untrained.loss > run.loss + 0.3 and untrained.train_loss > run.train_loss + 0.3
    assert run.downstream is not None and untrained.downstream is not None
    assert 1 >= run.downstream > untrained.downstream > 0
    assert 18 < run.flops / untrained.flops < 22 and 18 < run.tokens / untrained.tokens < 22


def test_the_same_setting_gives_the_same_run_and_another_seed_another(run: Run, prepared: PreparedSequences) -> None:
    again = train_run(prepared, CONFIG, SETTING, CPU)
    assert (again.loss, again.downstream, again.flops) == (run.loss, run.downstream, run.flops)
    assert train_run(prepared, CONFIG, replace(SETTING, seed=1), CPU).loss != run.loss


def test_flops_are_those_that_torch_counts(prepared: PreparedSequences) -> None:
    counted = CountedTrainee(trainee(prepared, SETTING), steps=5)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for batch in counted.batches(0, 0, 1):
            counted.backward(batch)
    assert counted.flops == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_exactly_so_many_steps_are_made_and_only_what_is_read_counts_as_tokens(prepared: PreparedSequences) -> None:
    counted = CountedTrainee(trainee(prepared, SETTING), steps=5)
    batches = list(counted.batches(0, 0, 1))
    assert len(batches) == counted.steps == 5
    counted.backward(batches[0])
    texts, views = batches[0].tokens, (batches[0].first.items, batches[0].second.items)
    assert counted.tokens == int((texts > 0).sum()) + sum(int((view >= 0).sum()) for view in views)
    assert counted.tokens < texts.numel() + sum(view.numel() for view in views)


def test_all_runs_have_the_same_candidates(prepared: PreparedSequences) -> None:
    others = [SETTING, replace(SETTING, users=50), replace(SETTING, seed=3, sequence_length=2, batch=8, size="nano")]
    first, *rest = [trainee(prepared, setting) for setting in others]
    assert len(first.held_out) > 50 and not set(first.held_out) & set(first.training)
    assert all((other.held_out == first.held_out).all() for other in rest)
    assert len(rest[0].training) == 50 and set(rest[0].training) <= set(first.training)


def test_the_cost_of_a_step_is_that_of_a_run(run: Run, prepared: PreparedSequences) -> None:
    cost = sampled_step_cost(prepared, CONFIG)
    assert cost("pico", 8, 32) == pytest.approx(run.flops / run.steps, rel=0.02)
    assert 3 < cost("nano", 8, 32) / cost("pico", 8, 32) < 4
    assert cost("pico", 8, 10_000) == pytest.approx(10 * cost("pico", 8, 1_000))  # of no more than there are
    with pytest.raises(InvalidInput, match="no size 'huge'"):
        cost("huge", 8, 32)


def test_the_head_ranks_by_what_the_vectors_tell(prepared: PreparedSequences) -> None:
    """Vectors that are nobody's own leave the popularity of items; the score of a diverged model is none."""
    one = trainee(prepared, SETTING)
    everybody = one.training
    with torch.no_grad():
        informed = recall(one, everybody)
        one.clue.service_encoder.out.weight.zero_()
        popular = recall(one, everybody)
        one.clue.service_encoder.out.weight.fill_(torch.nan)
        assert recall(one, everybody) is None
    assert informed is not None and popular is not None and informed > popular + 0.03
    assert recall(one, everybody[:10]) is None  # nothing to learn from


@pytest.mark.parametrize("objective", ["cross_service", "same_service"])
def test_the_vector_knows_nothing_of_the_events_that_are_ranked(
    prepared: PreparedSequences, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, objective=objective)
    one = ClueTrainee(prepared.cut(16), run_config(config, replace(SETTING, sequence_length=16)), CPU)
    read: list[tuple[Int64, Int64]] = []
    padded = ServiceHistories.padded

    def spied(histories: ServiceHistories, begins: Int64, ends: Int64, *shuffled: np.random.Generator) -> Sequences:
        read.append((begins, ends))
        return padded(histories, begins, ends, *shuffled)

    monkeypatch.setattr(ServiceHistories, "padded", spied)
    assert recall(one, one.training) is not None
    (first_begins, first_ends), (second_begins, second_ends) = read[:2]
    assert ((first_ends <= second_begins) | (second_ends <= first_begins)).all()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"users": 20}, "a batch of 32 from 20 users"),
        ({"users": 5000}, r"wants 5,000 users, \d+ have two views"),
        ({"sequence_length": 1}, "sequences of 1 event; give 2"),
        ({"size": "huge"}, "size=huge is none of pico, nano"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    prepared: PreparedSequences, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        train_run(prepared, CONFIG, replace(SETTING, **changes), CPU)  # type: ignore[arg-type]


def test_a_diverged_run_is_kept(prepared: PreparedSequences) -> None:
    run = train_run(prepared, replace(CONFIG, learning_rate=1e30), replace(SETTING, steps=3), CPU)
    assert not np.isfinite(run.loss) and run.downstream is None
