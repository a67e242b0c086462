"""Moments summed chunk by chunk are those of all users, and the solutions from them are the textbook's."""

import numpy as np
import pytest

from portrait.training.encoding.arrays import Float32
from portrait.training.forecast.cross_moments import CrossMoments, principal, ridge


@pytest.fixture
def drawn() -> tuple[Float32, Float32]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    t = (x @ rng.normal(size=(6, 2)) + 0.1 * rng.normal(size=(500, 2)) - 5).astype(np.float32)
    return x, t


def test_they_are_those_of_all_users_at_once(drawn: tuple[Float32, Float32]) -> None:
    x, t = drawn
    first, second = CrossMoments(6, 2), CrossMoments(6, 2)
    for start in range(0, 300, 70):
        first.add(x[start : min(start + 70, 300)], t[start : min(start + 70, 300)])
    second.add(x[300:], t[300:])
    found, whole = first + second, np.cov(np.concatenate([x, t], axis=1).T, bias=True)
    assert found.count == 500
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.covariance, whole[:6, :6], atol=1e-3)
    np.testing.assert_allclose(found.cross, whole[:6, 6:], atol=1e-3)
    np.testing.assert_allclose(found.variance, np.diag(whole)[6:], atol=1e-3)


def test_without_anybody_they_are_zero() -> None:
    nobody = CrossMoments(3, 1)
    assert not nobody.covariance.any() and not nobody.cross.any() and not nobody.mean.any()


def test_the_regression_is_least_squares_where_nothing_is_added(drawn: tuple[Float32, Float32]) -> None:
    x, t = drawn
    moments = CrossMoments(6, 2)
    moments.add(x, t)
    design = np.concatenate([x, np.ones((500, 1))], axis=1).astype(np.float64)
    plain = np.linalg.lstsq(design, t.astype(np.float64), rcond=None)[0][:6]
    np.testing.assert_allclose(ridge(moments.covariance, moments.cross, 1e-9), plain, atol=1e-2)
    heavy = ridge(moments.covariance, moments.cross, 10.0)
    assert np.linalg.norm(heavy) < np.linalg.norm(plain)


def test_directions_come_by_falling_variance_with_a_sign_of_their_own() -> None:
    variance, axes = principal(np.diag([1.0, 9.0, 4.0]), 2)
    np.testing.assert_allclose(variance, [9.0, 4.0])
    np.testing.assert_allclose(axes, [[0, 0], [1, 0], [0, 1]], atol=1e-12)
