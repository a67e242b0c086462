"""Interfaces of baselines: fitted on training users as of a time, then asked about any users as of any time."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

Features: TypeAlias = "Float32 | sparse.csr_array"
"""[n, d] float32 of n users; sparse where most of it is zeros."""


class Suits(StrEnum):
    """The head with which a method's features are at their best, as in the paper that they come from."""

    LINEAR = "linear"
    BOOSTING = "boosting"


class UserFeatures(Protocol):
    """A fitted method that turns users into features for a light head."""

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Features:
        """[n, d] of users in the columns of `snapshot.read`, as of a time in microseconds since 1970 (or one each).

        Events at or after it do not count. A user of whom nothing is known gets zeros, or the method's own
        default; a user who was not in the fit is folded in.
        """
        ...


class Ranker(Protocol):
    """A fitted method that scores items."""

    items: Vocabulary  # keys of `portrait.training.encoding.vocabulary.item_keys`: those that a training user had

    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """[n, items] float32, higher is better; items that the user had already are scored too."""
        ...


class FeatureBaseline(Protocol):
    """A way to make user features."""

    name: str
    suits: Suits

    def fit(self, inputs: TrainingInputs, seed: int) -> UserFeatures:
        """Learn from the users of `inputs` as of its time and from nothing else; the same seed gives the same.

        Raises InvalidInput when the users are too few for it.
        """
        ...


class RankingBaseline(Protocol):
    """A way to rank items."""

    name: str

    def fit(self, inputs: TrainingInputs, seed: int) -> Ranker:
        """Learn from the users of `inputs` as of its time, as `FeatureBaseline.fit` does."""
        ...


@contextmanager
def single_blas() -> Iterator[None]:
    """Limit BLAS to one thread inside the block: a library with threads of its own would compete with it."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def as_float32(rows: np.ndarray) -> Float32:
    return np.ascontiguousarray(rows, dtype=np.float32)
