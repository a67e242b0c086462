"""What came after a past moment, counted by hand; nothing of it lies after the as-of time."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from portrait.training.encoding.arrays import DAY_US, Events, Picks, UserArrays
from portrait.training.forecast.targets import future_numbers, future_width, horizons_of, past_cuts
from tests.training.example import AS_OF, AS_OF_US, DAY, inputs, population

CUT = 100 * DAY_US


def users(*events: tuple[int, float, int, float]) -> UserArrays:
    """Two users with events of (user, days after the cut, action, weight)."""
    columns = np.array(events, dtype=np.float64)
    user, days, action = columns[:, 0].astype(np.int64), columns[:, 1], columns[:, 2].astype(np.int64)
    nothing = np.zeros(len(user), np.int64)
    made = Events(user, nothing, nothing, action, nothing, (CUT + days * DAY_US).astype(np.int64), columns[:, 3])
    empty = np.empty(0, np.int64)
    return UserArrays(np.full(2, CUT + 90 * DAY_US), made, Picks(empty, empty), np.zeros(2, np.int64), {}, {}, {})


def test_events_days_and_weight_within_each_horizon() -> None:
    found = future_numbers(users((0, -1, 0, 9.0), (0, 0, 0, 2.0), (0, 0.5, 1, 1.0), (0, 7, 1, 4.0)), CUT, [7, 30], 2)
    log = np.log1p
    week = [1, log(2), log(1), log(3), 1, log(1), 1, log(1)]
    month = [1, log(3), log(2), log(7), 1, log(1), 1, log(2)]
    np.testing.assert_allclose(found, [week + month, [0] * 16], rtol=1e-6)
    assert future_width([7, 30], 2) == 16 and future_width([7], 1) == 4


@pytest.mark.parametrize(("days", "horizons"), [(400, [7, 30, 90]), (100, [7, 30]), (14, [7]), (13, [])])
def test_a_horizon_needs_as_much_of_a_past(days: int, horizons: list[int]) -> None:
    given = replace(inputs(population()), data_from=AS_OF - timedelta(days=days))
    assert horizons_of(given, (7, 30, 90)) == horizons


def test_without_a_clock_nothing_is_forecast() -> None:
    assert horizons_of(inputs(population()), (7, 30, 90)) == []
    assert past_cuts(inputs(population()), 7, 4) == []


def test_no_horizon_ends_after_the_as_of_time() -> None:
    given = replace(inputs(population()), data_from=AS_OF - timedelta(days=300))
    cuts = past_cuts(given, 90, 4)
    assert cuts == [AS_OF_US - 90 * DAY, AS_OF_US - 180 * DAY]  # before the next there are 30 days of a past
    assert past_cuts(given, 7, 3) == [AS_OF_US - days * DAY for days in (7, 14, 21)]
