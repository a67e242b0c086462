"""Forecasts: which setting a budget should go to, what it will reach, and when nobody can know."""

from dataclasses import replace

import pytest

from portrait.training.scaling.fit import fit
from portrait.training.scaling.forecast import check, forecast, trends
from portrait.training.scaling.setting import Setting
from tests.training.scaling.synthetic import BEST, BUDGETS, COST, SIZES, finished, law, one, study


def test_the_trends_are_those_of_the_frontier() -> None:
    found = trends(fit(study(noise=0), n=2))
    grown = [SIZES[name] for name in BEST]
    assert found["parameters"].exponent == pytest.approx(0.52, abs=0.05)  # 2M to 64M over three decades
    assert found["tokens"].exponent == pytest.approx(1 - found["parameters"].exponent, abs=0.01)  # C = 6 N D
    assert grown[0] / 1.5 < found["parameters"].at(BUDGETS[0]) < grown[0] * 1.5
    assert found["batch"].exponent == found["users"].exponent == 0
    assert found["batch"].at(1e18) == pytest.approx(256)


def test_what_shrinks_with_compute_is_taken_as_constant() -> None:
    runs = [one(1e13, 4.0, batch=256), one(1e14, 3.0, batch=128), one(1e15, 2.5, batch=64)]
    trend = trends(fit(runs, n=2))["batch"]
    assert trend.exponent == 0 and trend.at(1e17) == pytest.approx(128)


def test_a_budget_gets_a_setting_that_uses_it_up_and_a_loss() -> None:
    found = forecast(fit(study(), n=60), 2e16, SIZES, COST)
    assert (found.setting.size, found.setting.batch, found.setting.users) == ("64m", 256, 10_000)
    assert found.setting.steps * COST("64m", 32, 256) == pytest.approx(2e16, rel=0.001)
    assert found.tokens == pytest.approx(found.setting.steps * 256 * 32, rel=0.01)
    assert found.loss == pytest.approx(law(2e16), rel=0.02) and law(2e16) in found.interval
    assert not found.outside and found.decades_outside == pytest.approx(0.3, abs=0.01) and found.notes == ()


@pytest.mark.parametrize(("budget", "decades"), [(1e18, "2.0"), (1e11, "2.0")])
def test_a_budget_far_outside_is_answered_and_flagged(budget: float, decades: str) -> None:
    fitted = fit(study(), n=10)
    found = forecast(fitted, budget, SIZES, COST)
    assert found.outside and found.decades_outside == pytest.approx(2, abs=0.01)
    assert f"Do not rely on it: the budget lies {decades} decades outside the frontier" in found.notes[0]
    assert found.loss == pytest.approx(law(budget), rel=0.2)
    assert not forecast(fitted, budget, SIZES, COST, reach=3).outside


@pytest.mark.parametrize("budget", [1e9, 1.0, 1e-300])
def test_however_small_a_budget_two_users_are_told_from_each_other(budget: float) -> None:
    """Where batch and users have grown with compute, the trends lead to less than one of both."""
    grown = [(1e13, 4.0, 100, 16), (1e14, 3.2, 1_000, 128), (1e15, 2.6, 10_000, 1024)]
    settings = [
        (Setting("2m", users, 32, batch, round(f / COST("2m", 32, batch)), 0), loss) for f, loss, users, batch in grown
    ]
    found = forecast(fit([finished(*one) for one in settings], n=2), budget, SIZES, COST)
    assert (found.setting.users, found.setting.batch, found.setting.steps) == (2, 2, 1)
    assert found.outside and "Do not rely on it" in found.notes[0]


def test_a_size_that_is_not_there_is_missed_aloud() -> None:
    small = {name: SIZES[name] for name in ("2m", "7m")}
    found = forecast(fit(study(), n=10), 5e16, small, COST)
    assert found.setting.size == "7m"
    assert "parameters, the named sizes have 2e+06 to 7e+06" in found.notes[0]


def test_a_batch_has_no_more_users_than_there_are() -> None:
    runs = [one(1e13, 4.0, batch=64), one(1e14, 3.2, batch=512), one(1e15, 2.6, batch=4096)]
    fitted = fit(runs, n=2)
    within, beyond = forecast(fitted, 1e15, SIZES, COST), forecast(fitted, 1e17, SIZES, COST)
    assert within.setting.batch == 4096 and within.notes == ()
    assert beyond.setting.batch == 8192 < beyond.setting.users == 10_000
    assert "The trend asks for a batch of 2.6e+05, and there are 10,000 users" in beyond.notes[-1]


def test_a_held_out_run_is_inside_or_not() -> None:
    fitted = fit(study(), n=60)
    larger = one(3e16, law(3e16), size="64m")
    kept = check(larger, fitted)
    assert kept.inside and abs(kept.error) < 0.01 and kept.decades_outside == pytest.approx(0.477, abs=0.01)
    assert kept.predicted in kept.interval and kept.actual == larger.loss
    broken = check(replace(larger, loss=larger.loss * 1.3), fitted)
    assert not broken.inside and broken.error == pytest.approx(0.3, abs=0.02)
