"""Moved windows: by hand on one user, and against a plain loop on random ones."""

import numpy as np
import pyarrow as pa
import pytest

from portrait.feature_repo.schemas import HISTORY
from portrait.training.backfill.backfill import DAY, windows_moved

WINDOWS = (7, 30, 180)
TIMES = HISTORY.field("event_times").type


def histories(*days: list[float]) -> pa.Table:
    """Users with events on these days."""
    return pa.table({"event_times": pa.array([[int(day * DAY) for day in user] for user in days], TIMES)})


def moved(days: list[float], since: float, as_of: float) -> bool:
    found = windows_moved(histories(days), np.array([int(since * DAY)]), int(as_of * DAY), WINDOWS)
    assert found.shape == (1,) and found.dtype == bool
    return bool(found[0])


@pytest.mark.parametrize(
    ("since", "as_of", "expected"),
    [
        (101, 106, False),  # an event on day 100 is inside all windows all the time
        (101, 107, False),  # as of day 107 the week begins on day 100, and contains it
        (101, 107.5, True),
        (107, 108, True),  # the stored vector has it in its week, the new one has not
        (107.5, 120, False),  # it had left the week before
        (107.5, 130, False),
        (107.5, 130.5, True),  # now the month
        (131, 280.5, True),  # now the half-year
        (281, 5000, False),  # nothing can move any more
        (107, 107, False),
        (120, 90, False),  # as of a time before the stored vector there is nothing to do
    ],
)
def test_an_event_leaves_its_windows_one_after_the_other(since: float, as_of: float, expected: bool) -> None:
    assert moved([100], since, as_of) is expected


def test_an_event_that_was_too_late_for_the_stored_vector_enters() -> None:
    assert moved([100], 99, 101)
    assert moved([100], 100, 101)  # windows end before their time
    assert not moved([100], 100.5, 101)


def test_users_are_told_apart() -> None:
    users = histories([], [100], [50, 100], [], [1, 2, 3, 120])
    since = np.full(len(users), 108 * DAY)
    since[1] = 107 * DAY
    assert windows_moved(users, since, 110 * DAY, WINDOWS).tolist() == [False, True, False, False, False]
    assert windows_moved(users, since, 131 * DAY, WINDOWS).tolist() == [False, True, True, False, True]
    assert windows_moved(users.slice(2, 2), since[2:4], 131 * DAY, WINDOWS).tolist() == [True, False]
    assert windows_moved(users.slice(0, 0), since[:0], 131 * DAY, WINDOWS).tolist() == []


def test_it_says_what_counting_each_window_twice_says() -> None:
    rng = np.random.default_rng(5)
    days = [sorted(rng.uniform(0, 300, rng.integers(0, 6)).tolist()) for _ in range(200)]
    since, as_of = rng.uniform(200, 300, 200), 290.0

    def inside(user: list[float], moment: float) -> list[set[float]]:
        return [{day for day in user if moment - width <= day < moment} for width in WINDOWS]

    expected = [
        inside(user, then) != inside(user, as_of) for user, then in zip(days, since, strict=True) if then < as_of
    ]
    earlier = since < as_of
    users = histories(*days).filter(pa.array(earlier))
    found = windows_moved(users, (since[earlier] * DAY).astype(np.int64), int(as_of * DAY), WINDOWS)
    assert found.tolist() == expected
    assert 0 < sum(expected) < len(expected)
