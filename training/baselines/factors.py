"""TF-IDF bags of items, and their linear factors: truncated SVD and non-negative factors.

SVD: Deerwester et al., 1990; as a recommender ("PureSVD") Cremonesi, Koren & Turrin, RecSys'10. NMF: Lee & Seung,
Nature 1999; one of the baselines of GUR (arXiv 2403.00584).
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits, as_float32
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs


@dataclass(frozen=True)
class TfidfFeatures:
    """Rows of length 1, sparse [n, items]."""

    bags: Bags
    transform: Any  # scikit-learn's fitted TfidfTransformer

    def matrix(self, users: pa.Table, as_of: int | Int64) -> sparse.csr_array:
        """Sparse rows [n, items] of length 1; zeros for users without a known item."""
        return sparse.csr_array(self.transform.transform(self.bags.counts(users, as_of)))


class Tfidf:
    """TF-IDF weights of the user's bag: only order and time are lost."""

    name = "tfidf"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> TfidfFeatures:
        from sklearn.feature_extraction.text import TfidfTransformer

        bags = Bags.over(inputs)
        return TfidfFeatures(bags, TfidfTransformer(sublinear_tf=True).fit(bags.training(inputs, binary=False)))


DIMENSION = 64
ITERATIONS = 200  # of NMF


@dataclass(frozen=True)
class FactorFeatures:
    """Coordinates [n, 64] of users in the factors, which rank items too."""

    bags: TfidfFeatures
    factors: Any  # scikit-learn's fitted decomposition

    @property
    def items(self) -> Vocabulary:
        return self.bags.bags.items

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        return as_float32(self.factors.transform(self.bags.matrix(users, as_of)))

    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """float32 [n, items]: the bag as the factors rebuild it."""
        return as_float32(self.matrix(users, as_of) @ self.factors.components_)


class Svd:
    """Truncated SVD."""

    name = "svd"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> FactorFeatures:
        from sklearn.decomposition import TruncatedSVD

        bags = Tfidf().fit(inputs, seed)
        rows = _training(bags, inputs)
        return FactorFeatures(bags, TruncatedSVD(_rank(rows), n_iter=7, random_state=seed).fit(rows))


class Nmf:
    """Non-negative matrix factorisation, by coordinate descent."""

    name = "nmf"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> FactorFeatures:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning

        bags = Tfidf().fit(inputs, seed)
        rows = _training(bags, inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are what the baseline gets
            fitted = NMF(_rank(rows), init="nndsvda", max_iter=ITERATIONS, random_state=seed).fit(rows)
        return FactorFeatures(bags, fitted)


def _training(bags: TfidfFeatures, inputs: TrainingInputs) -> Any:
    return bags.transform.transform(bags.bags.training(inputs, binary=False))


def _rank(rows: Any) -> int:
    return int(min(DIMENSION, *(np.array(rows.shape) - 1)))
