"""The law: it finds the truth behind noisy runs, says how sure it is, and says when it is not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.fit import fit
from portrait.training.scaling.frontier import frontier, on_frontier, points
from tests.training.scaling.synthetic import COEFFICIENT, EXPONENT, IRREDUCIBLE, law, one, study


def test_without_noise_the_parameters_are_exact() -> None:
    found = fit(study(noise=0), n=2)
    assert found.irreducible == pytest.approx(IRREDUCIBLE, abs=1e-3)
    assert found.exponent == pytest.approx(EXPONENT, abs=1e-3)
    assert found.coefficient == pytest.approx(COEFFICIENT, rel=0.02)
    assert found.r_squared > 0.999999 and found.scatter < 1e-4
    assert found.decades == pytest.approx(3, abs=0.01) and len(found.frontier) == 7
    assert found.warnings == ()


def test_with_noise_the_intervals_hold_the_truth() -> None:
    held = np.zeros(4)
    for seed in range(20):
        found = fit(study(seed, noise=0.01), n=40)
        at = found.intervals
        truth = (IRREDUCIBLE in at["irreducible"], COEFFICIENT in at["coefficient"], EXPONENT in at["exponent"])
        held += (*truth, law(1e17) in found.confidence(1e17))
        assert found.exponent == pytest.approx(EXPONENT, abs=0.05)
        assert found.irreducible == pytest.approx(IRREDUCIBLE, abs=0.4)
        assert found.loss(1e17) == pytest.approx(law(1e17), rel=0.06)
    assert held.min() >= 19, held  # of 20


def test_an_interval_reaches_as_far_down_as_the_scatter_asks_for() -> None:
    below = []
    for seed in range(8):
        found = fit(study(seed, noise=0.01, rise=0.02), n=40)
        below.append((1 - found.confidence(1e15).low / found.loss(1e15)) / found.scatter)
    assert 0.74 < np.mean(below) < 2  # 1.96 / sqrt(7) for seven points; drawing runs alone gives 0.57


def test_one_start_would_miss_a_law_that_is_almost_all_irreducible() -> None:
    flops = [10.0**power for power in (13, 13.5, 14, 14.5, 15, 15.5, 16)]
    found = fit([one(compute, 4.9 + 0.1 * (compute / 1e13) ** -0.5) for compute in flops], n=2)
    assert (found.irreducible, found.exponent) == (pytest.approx(4.9, abs=0.001), pytest.approx(0.5, abs=0.01))


def test_an_interval_is_no_wider_than_it_must_be() -> None:
    found = fit(study(noise=0.005, seeds=(0, 1, 2)), n=100)
    inside, outside = found.confidence(1e15), found.confidence(1e18)
    assert inside.high - inside.low < 0.03 * law(1e15)
    assert outside.high - outside.low < 0.3 * law(1e18)
    single = found.prediction(1e15)
    assert single.low < inside.low < inside.high < single.high


def test_seeds_of_a_configuration_narrow_the_interval() -> None:
    widths = []
    for seeds in ((0,), (0, 1, 2, 3)):
        at = fit(study(noise=0.02, seeds=seeds), n=60).confidence(1e15)
        widths.append(at.high - at.low)
    assert widths[1] < 0.8 * widths[0]


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3)])
def test_a_single_run_lies_in_its_interval_however_many_seeds_the_points_have(seeds: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    inside = []
    for seed in range(8):
        found = fit(study(seed, noise=0.01, seeds=seeds), n=40).prediction(1e15)
        inside += [float(run) in found for run in law(1e15) * np.exp(rng.normal(scale=0.01, size=500))]
    assert np.mean(inside) > 0.9  # that of a mean of four would hold 80%


def test_an_outlier_does_not_bend_the_law() -> None:
    runs = study(noise=0)
    best = next(point for point in frontier(runs) if 1e14 < point.flops < 1e15)
    bent = [replace(run, loss=run.loss * 0.9) if run.name == best.first.name else run for run in runs]
    assert fit(bent, n=2).loss(1e17) == pytest.approx(law(1e17), rel=0.02)


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = study()
    found, turned = fit(runs, n=5), fit(runs[::-1], n=5)
    assert found == turned and np.array_equal(found.draws, turned.draws)


def test_the_frontier_is_what_is_best_for_its_compute() -> None:
    flops = np.array([1.0, 2.0, 2.0, 4.0, 8.0, 16.0, 16.5])
    loss = np.array([5.0, 4.0, 4.5, 4.0, 3.9, 3.0, 2.9])
    # 4.5 loses to its equal, the second 4.0 to a cheaper one, 3.0 to one of (almost) the same compute; 3.9 lies
    # above the straight line between its neighbours and stays.
    assert on_frontier(flops, loss).tolist() == [True, True, False, False, True, False, True]
    turned = on_frontier(flops[::-1], loss[::-1])
    assert turned.tolist() == [True, False, True, False, False, True, True]


def test_the_mean_of_the_seeds_counts_and_a_diverged_one_drops_its_configuration() -> None:
    lucky = [one(1e14, 3.0, seed=0), one(1e14, 5.0, seed=1), one(1e14, 3.5, batch=256)]
    assert sorted(point.loss for point in points(lucky)) == [3.5, 4.0]
    assert [point.loss for point in frontier(lucky)] == [3.5]
    diverged = [*study(), one(1e17, math.nan)]
    assert any("has diverged: 2m-u10000-l32-b64-t" in warning for warning in fit(diverged, n=4).warnings)
    assert fit(diverged, n=4).most < 2e16


def test_flat_losses_are_no_law() -> None:
    rng = np.random.default_rng(3)
    runs = [replace(run, loss=float(5 * np.exp(rng.normal(scale=0.01)))) for run in study()]
    cheapest = frontier(runs)[0].first
    runs = [replace(run, loss=5.05) if run.name == cheapest.name else run for run in runs]
    warnings = " ".join(fit(runs, n=100).warnings)
    assert "do not show that compute lowers the loss" in warnings


def test_too_few_runs_are_warned_of() -> None:
    found = fit([one(1e13, 4.0), one(3e13, 3.5), one(6e13, 3.3)], n=50)
    assert found.warnings[0].startswith("Only 3 configurations are on the frontier")
    assert found.warnings[1].startswith("The frontier covers 0.78 decades of compute")
    two = fit([one(1e13, 4.0), one(1e15, 2.0)], n=50)
    assert two.irreducible == pytest.approx(0, abs=0.01) and two.exponent == pytest.approx(math.log10(2) / 2, abs=0.01)


def test_a_law_that_misses_the_dearest_point_is_warned_of() -> None:
    runs = study(noise=0)
    dearest = frontier(runs)[-1].first
    runs = [replace(run, loss=run.loss * 0.85) if run.name == dearest.name else run for run in runs]
    assert any("The dearest configuration lies 5.3% below" in warning for warning in fit(runs, n=10).warnings)


def test_a_frontier_of_one_point_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 of 2 configurations are on the frontier, a law needs two"):
        fit([one(1e13, 3.0), one(1e15, 3.1)])
    with pytest.raises(InvalidInput, match="0 of 0"):
        fit([])
