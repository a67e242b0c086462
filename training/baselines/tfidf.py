"""TF-IDF of a user's items: the bag of words of collaborative filtering (Salton & Buckley, 1988), for a linear head."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from scipy import sparse

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.baseline import Suits
from portrait.training.encoding.arrays import Int64
from portrait.training.runs.training_inputs import TrainingInputs


@dataclass(frozen=True)
class TfidfFeatures:
    """Rows of length 1, sparse [n, items]."""

    bags: Bags
    transform: Any  # scikit-learn's fitted TfidfTransformer

    def of(self, users: pa.Table, as_of: int | Int64) -> sparse.csr_array:
        """See `UserFeatures`; zeros for users without a known item."""
        return sparse.csr_array(self.transform.transform(self.bags.counts(users, as_of)))


class Tfidf:
    """The bag itself: nothing is compressed, nothing is lost but order and time."""

    name = "tfidf"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> TfidfFeatures:
        """See `FeatureBaseline`; nothing is drawn."""
        from sklearn.feature_extraction.text import TfidfTransformer

        bags = Bags.over(inputs)
        return TfidfFeatures(bags, TfidfTransformer(sublinear_tf=True).fit(bags.training(inputs, binary=False)))
