"""AUC, accuracy and log loss against scikit-learn, and an interval that resamples users."""

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from portrait.registry.errors import InvalidInput
from portrait.training.metrics.classes import accuracy, auc, auc_interval, log_loss, measures


def probabilities(rows: int, classes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)


def test_auc_of_two_classes_with_ties_is_that_of_scikit_learn() -> None:
    second = np.round(probabilities(500, 2)[:, 1], 1)
    codes = np.random.default_rng(1).integers(2, size=500)
    assert auc(np.stack([1 - second, second], axis=1), codes) == pytest.approx(roc_auc_score(codes, second))


def test_auc_of_more_classes_is_the_mean_against_the_others() -> None:
    scores, codes = probabilities(500, 4), np.random.default_rng(1).integers(4, size=500)
    assert auc(scores, codes) == pytest.approx(roc_auc_score(codes, scores / scores.sum(1, keepdims=True),
                                                             multi_class="ovr"))  # fmt: skip


def test_a_class_that_nobody_has_does_not_count_and_one_alone_has_no_auc() -> None:
    scores, codes = probabilities(100, 3), np.arange(100) % 2
    expected = np.mean([roc_auc_score(codes == c, scores[:, c]) for c in (0, 1)])
    assert auc(scores, codes) == pytest.approx(expected)
    assert math.isnan(auc(scores, np.zeros(100, np.int64)))
    assert "auc" not in measures(scores, np.zeros(100, np.int64))


def test_accuracy_and_log_loss_by_hand() -> None:
    scores = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], np.float32)
    codes = np.array([0, 1, 1])
    assert accuracy(scores, codes) == pytest.approx(2 / 3)
    assert log_loss(scores, codes) == pytest.approx(-(math.log(0.5) + math.log(0.75) + math.log(1e-7)) / 3)


def test_a_label_that_no_class_has_is_a_miss_and_no_loss() -> None:
    scores, codes = np.array([[0.5, 0.5], [0.25, 0.75]], np.float32), np.array([-1, 1])
    assert accuracy(scores, codes) == 0.5 and log_loss(scores, codes) == pytest.approx(-math.log(0.75))


def test_an_interval_resamples_users_and_not_their_rows() -> None:
    """Twenty copies of every row say nothing new: the interval stays as wide."""
    scores, codes = probabilities(200, 2), np.random.default_rng(1).integers(2, size=200)
    users = [f"u{n}" for n in range(200)]
    once = auc_interval(scores, codes, users)
    copied = auc_interval(np.tile(scores, (20, 1)), np.tile(codes, 20), users * 20)
    assert once.low < once.value < once.high and once.value == pytest.approx(copied.value)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-6)
    assert once.high - once.low == pytest.approx(2 * 1.96 * 0.041, rel=0.15)  # about sqrt(1/12 (1/n0 + 1/n1))


def test_one_class_has_no_interval() -> None:
    with pytest.raises(InvalidInput, match="two classes"):
        auc_interval(probabilities(10, 2), np.ones(10, np.int64), [str(n) for n in range(10)])
