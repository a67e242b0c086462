"""Bootstrap over users, and the area under the curve within each of them."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from portrait.training.metrics.classes import mean_interval
from portrait.training.metrics.ranking import auc_by_user


def test_an_interval_has_the_width_of_the_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 900)
    found = mean_interval(values, np.arange(900))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 30, rel=0.1)


def test_rows_of_a_user_come_and_go_together() -> None:
    one_each = np.random.default_rng(0).normal(0.0, 1.0, 200)
    alone = mean_interval(one_each, np.arange(200))
    nine_times = mean_interval(np.repeat(one_each, 9), np.repeat(np.arange(200), 9))
    assert (nine_times.low, nine_times.high) == pytest.approx((alone.low, alone.high))  # and not a third as wide


def test_auc_by_user_is_that_of_scikit_learn_for_each() -> None:
    rng = np.random.default_rng(1)
    owner = rng.integers(0, 12, 300)
    truth, scores = rng.random(300) < 0.4, np.round(rng.random(300), 1)
    truth[owner == 3] = True  # nothing to tell apart
    areas, people = auc_by_user(scores, truth, owner)
    assert people.tolist() == [one for one in range(12) if one != 3]
    expected = [roc_auc_score(truth[owner == one], scores[owner == one]) for one in people]
    assert areas == pytest.approx(expected)
