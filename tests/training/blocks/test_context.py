"""Context features: activity, recency, rhythm and shares of a user's events."""

import numpy as np

from portrait.training.blocks.context import moments_after


def test_moments_after_are_of_the_same_user_and_what_happens_at_once_is_equally_late() -> None:
    user = np.array([0, 0, 0, 0, 2, 3, 3])
    time = np.array([5, 7, 7, 9, 9, 9, 9])
    assert moments_after(user, time).tolist() == [2, 1, 1, 0, 0, 0, 0]
    assert moments_after(np.array([], np.int64), np.array([], np.int64)).tolist() == []


def test_moments_after_one_by_one() -> None:
    rng = np.random.default_rng(0)
    user = np.sort(rng.integers(0, 20, 300))
    time = rng.integers(0, 12, 300)
    order = np.lexsort((time, user))
    time = time[order]
    expected = [
        len({at for of, at in zip(user, time, strict=True) if of == who and at > when})
        for who, when in zip(user, time, strict=True)
    ]
    assert moments_after(user, time).tolist() == expected
