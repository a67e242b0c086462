"""Likeness of two spaces whatever their axes: overlap of neighbours, and cosine after the best rotation."""

import numpy as np

from portrait.training.encoding.arrays import Float32, Float64, Int64

BLOCK = 1_024  # users whose similarities to all others are held at once


def unit_rows(vectors: Float32) -> Float64:
    """Vectors [n, d] at length 1; a zero vector stays zero."""
    rows = vectors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float64 = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit


def nearest(unit: Float64, k: int) -> Int64:
    """Int64 [n, k]: the k nearest others of each of n unit vectors by cosine, in no order. Needs k < n."""
    found = np.empty((len(unit), k), np.int64)
    for start in range(0, len(unit), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(unit)))
        similarity = unit[rows] @ unit.T
        similarity[rows - start, rows] = -np.inf  # nobody is a neighbour of their own
        found[rows] = np.argpartition(similarity, -k, axis=1)[:, -k:]
    return found


def overlap(a: Float64, b: Float64, k: int) -> float:
    """Mean share of the k nearest neighbours that users [n, .] have in both spaces; k / (n - 1) by chance."""
    common = (nearest(a, k)[:, :, None] == nearest(b, k)[:, None, :]).any(axis=2)
    return float(common.mean())


def mean_cosine(a: Float64, b: Float64) -> float:
    """Mean cosine of unit vectors [n, d] of the same users."""
    return float(np.einsum("ij,ij->i", a, b).mean())


def best_rotation(a: Float64, b: Float64) -> Float64:
    """The orthogonal map [d, d] with the greatest mean cosine of `a @ map` and `b`, unit vectors [n, d] of n users.

    U V' of the singular value decomposition of a' b (orthogonal Procrustes; arXiv 2508.07574). Not centred: consumers
    read the vectors as they are, and a rotation about the origin is what could be undone for them.
    """
    u, _, v = np.linalg.svd(a.T @ b)
    rotation: Float64 = u @ v
    return rotation


def held_out_cosine(a: Float64, b: Float64, seed: int = 0) -> float | None:
    """Mean cosine after the best rotation, fitted on one half of the users and measured on the other half.

    Unit vectors [n, da] and [n, db]; the smaller dimension is filled up with zeros. None for less than two users;
    with less users than twice the dimension the rotation is not determined, and the cosine comes out too small.
    """
    if len(a) < 2:
        return None
    dimension = max(a.shape[1], b.shape[1])
    a, b = (np.pad(rows, ((0, 0), (0, dimension - rows.shape[1]))) for rows in (a, b))
    shuffled = np.random.default_rng(seed).permutation(len(a))
    fitted, held_out = shuffled[: len(a) // 2], shuffled[len(a) // 2 :]
    return mean_cosine(a[held_out] @ best_rotation(a[fitted], b[fitted]), b[held_out])
