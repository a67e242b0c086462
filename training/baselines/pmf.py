"""PMF: a matrix factorisation of what users did into vectors of users and of items.

Probabilistic matrix factorisation (Salakhutdinov & Mnih, NeurIPS'07) is for ratings; events are no ratings, so the
confidence-weighted form is fitted (Hu, Koren & Volinsky, ICDM'08) by alternating least squares, as `implicit` has it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits, as_float32, single_blas
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares

DIMENSION = 64
REGULARISATION = 0.05
ALPHA = 10.0  # confidence in an event, against 1 in its absence
ITERATIONS = 15


@dataclass(frozen=True)
class PmfFeatures:
    """Vectors [n, 64] of users: the least-squares solution for each user's bag, new users included."""

    bags: Bags
    model: "AlternatingLeastSquares"

    @property
    def items(self) -> Vocabulary:
        return self.bags.items

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        if not users.num_rows:
            return np.empty((0, self.model.factors), np.float32)
        bags = sparse.csr_matrix(self.bags.had(users, as_of))
        with single_blas():
            found = self.model.recalculate_user(np.arange(users.num_rows), bags)
        return as_float32(found)

    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        return as_float32(self.matrix(users, as_of) @ self.model.item_factors.T)


class Pmf:
    """Weighted matrix factorisation."""

    name = "pmf"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> PmfFeatures:
        from implicit.cpu.als import AlternatingLeastSquares

        bags = Bags.over(inputs)
        rows = sparse.csr_matrix(bags.training(inputs))
        with single_blas():
            model = AlternatingLeastSquares(
                factors=min(DIMENSION, len(bags.items) - 1),
                regularization=REGULARISATION,
                alpha=ALPHA,
                iterations=ITERATIONS,
                num_threads=1,  # the order of the sums, and so the last digits, with it
                random_state=seed,
            )
            model.fit(rows, show_progress=False)
        return PmfFeatures(bags, model)
