"""nDCG of neighbours, by hand and by chance."""

import numpy as np
import pytest
from scipy import sparse

from portrait.training.evaluation.tasks.nearest import neighbour_ndcg


def test_by_hand() -> None:
    degrees = np.array([0, 10, 25, 45, 180])
    vectors = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)
    gains, who = neighbour_ndcg(vectors, np.array([0, 1, 0, 1, 2]), k=2)
    assert who.tolist() == [0, 1, 2, 3]  # nobody else is of cluster 2
    # each has one other of its cluster, which is best in the first place: the others are second, never, never, second
    second = 1 / np.log2(3)
    assert gains == pytest.approx([second, 0, 0, second])


def test_clusters_that_are_there_are_found_and_noise_is_chance() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 4, 400)
    centres = rng.normal(size=(4, 8))
    gains, _ = neighbour_ndcg((centres[cluster] + 0.01 * rng.normal(size=(400, 8))).astype(np.float32), cluster, k=50)
    assert gains.mean() > 0.99
    noise, _ = neighbour_ndcg(rng.normal(size=(400, 8)).astype(np.float32), cluster, k=50)
    assert noise.mean() == pytest.approx(0.25, abs=0.03)


def test_sparse_features_are_as_good_as_dense_ones() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.integers(0, 4, 700)
    bags = rng.poisson(0.1 + 0.9 * (np.arange(40) % 4 == cluster[:, None])).astype(np.float32)
    bags[5] = 0  # nobody's neighbour
    dense, who = neighbour_ndcg(bags, cluster, k=20)
    found, same = neighbour_ndcg(sparse.csr_array(bags), cluster, k=20)
    assert who.tolist() == same.tolist()
    assert found.mean() == pytest.approx(dense.mean(), abs=1e-3)  # equal cosines may come in another order
