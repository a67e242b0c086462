"""Batch against size, and loss against downstream score, on runs whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from portrait.training.scaling.effects import Equal, batch_effect, correlation, statements
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting
from tests.training.scaling.synthetic import finished, one, study

LOSSES = {("2m", 64): 3.0, ("2m", 256): 2.9, ("20m", 64): 3.003, ("20m", 256): 2.5, ("7m", 256): 2.7}


def of_equal_steps(seeds: dict[int, float]) -> list[Run]:
    """A run for each size, batch and seed; `seeds` says how far each seed lies off."""
    return [
        finished(Setting(size, 10_000, 32, batch, 500, seed), loss + off)
        for (size, batch), loss in LOSSES.items()
        for seed, off in seeds.items()
    ]


def test_with_a_small_batch_the_larger_model_gains_nothing() -> None:
    effect = batch_effect(of_equal_steps({0: -0.01, 1: 0.01}), Equal.STEPS)
    assert effect and effect.amount == 500 and effect.sizes == ("2m", "7m", "20m")
    assert [(gain.batch, gain.nats) for gain in effect.gains] == [
        (64, pytest.approx(-0.003)),
        (256, pytest.approx(0.4)),
    ]
    assert effect.spread == pytest.approx(0.01 * 2**0.5)
    assert [gain.clear for gain in effect.gains] == [False, True]
    assert statements(effect) == [
        "With batch 64 the loss of the 20m model is 0.003 nats (0.1%) higher than that of the 2m model; "
        "this is within the noise between seeds.",
        "With batch 256 the loss of the 20m model is 0.400 nats (13.8%) lower than that of the 2m model.",
    ]


def test_single_seeds_have_no_noise_to_compare_with() -> None:
    effect = batch_effect(of_equal_steps({0: 0.0}), Equal.STEPS)
    assert effect and effect.spread is None and effect.gains[0].clear is None
    assert statements(effect)[-1].startswith("No configuration was repeated")


def test_equal_compute_takes_runs_that_cost_the_same() -> None:
    effect = batch_effect(study(noise=0), Equal.COMPUTE)
    assert effect and effect.amount == pytest.approx(1e16, rel=0.01) and len(effect.cells) == 8
    assert all(cell.flops == pytest.approx(1e16, rel=0.05) for cell in effect.cells)
    assert batch_effect(study(noise=0), Equal.STEPS) is None
    assert batch_effect(of_equal_steps({0: 0.0}), Equal.COMPUTE) is None


def test_other_users_are_another_comparison() -> None:
    runs = of_equal_steps({0: 0.0})
    moved = [finished(replace(run.setting, users=20_000), run.loss) if run.batch == 64 else run for run in runs]
    assert batch_effect(moved, Equal.STEPS) is None


def test_loss_and_score_that_move_together_are_correlated() -> None:
    found = correlation(study())
    assert found and found.count == 56 and found.rho < -0.98
    assert found.rho in found.interval and found.interval.high < -0.95
    turned = correlation([replace(run, downstream=-(run.downstream or 0)) for run in study()])
    assert turned and turned.rho == pytest.approx(-found.rho)


def test_scores_at_random_have_an_interval_around_zero() -> None:
    rng = np.random.default_rng(0)
    found = correlation([replace(run, downstream=float(rng.random())) for run in study()])
    assert found and 0.0 in found.interval


def test_ties_take_the_mean_rank() -> None:
    losses_scores = ((4, 1), (3, 2), (2, 2), (1, 3))
    runs = [replace(one(1e13 * loss, loss), downstream=score) for loss, score in losses_scores]
    found = correlation(runs)
    assert found and found.rho == pytest.approx(-4.5 / (5 * 4.5) ** 0.5)


def test_too_few_or_equal_scores_have_no_correlation() -> None:
    assert correlation([replace(run, downstream=None) for run in study()]) is None
    assert correlation(study()[:3]) is None
    assert correlation([replace(run, downstream=0.5) for run in study()]) is None
