"""Logistic regression over standardised vectors: scikit-learn fits it, numpy applies it."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import softmax

from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.heads.descent import Scale
from portrait.training.heads.examples import Labelled
from portrait.training.metrics.classes import log_loss

FILE = "weights.safetensors"
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Inverse regularisation C, from which the validation users choose the best log loss."""

MOST_STEPS = 1_000


@dataclass(frozen=True)
class LogisticModel:
    """Weights float32 [classes, d] and bias [classes] over raw vectors."""

    weights: Float32
    bias: Float32

    def scores(self, vectors: Float32) -> Float32:
        """float32 [n, classes] probabilities."""
        found: Float32 = softmax(vectors @ self.weights.T + self.bias, axis=1).astype(np.float32)
        return found

    def write(self, folder: Path) -> None:
        save_tensors({"weights": self.weights, "bias": self.bias}, folder / FILE)


class Logistic:
    """The kind "logistic"."""

    examples = Labelled

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> LogisticModel:
        """Fit with the scale and the C of the best log loss on the validation users; without any of them, C = 0.01.

        Dimensions are standardised each, or all by one deviation: ridge then trusts those that vary most, which is
        right for vectors whose coordinates come ordered.
        """
        train, validation, each = train.known(), validation.known(), Scale.from_vectors(train.vectors)
        if not len(validation):
            return _fit(train, each.apply(train.vectors), each, 1e-2)
        scales = [each] if each.is_common else [each, each.common]
        models = [
            _fit(train, scaled, scale, strength)
            for scale in scales
            for scaled in [scale.apply(train.vectors)]
            for strength in STRENGTHS
        ]
        return min(models, key=lambda model: log_loss(model.scores(validation.vectors), validation.codes))

    def load(self, folder: Path) -> LogisticModel:
        return LogisticModel(**load_file(folder / FILE))


def _fit(train: Labelled, scaled: Float32, scale: Scale, strength: float) -> LogisticModel:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough after so many steps
        fitted = LogisticRegression(C=strength, max_iter=MOST_STEPS).fit(scaled, train.codes)
    return _over_all_classes(fitted.classes_, fitted.coef_, fitted.intercept_, len(train.names), scale)


def _over_all_classes(
    present: np.ndarray, coefficients: np.ndarray, intercept: np.ndarray, classes: int, scale: Scale
) -> LogisticModel:
    """Rows for all classes: of two scikit-learn gives one row only, and none of a class without examples."""
    if len(coefficients) == 1:
        coefficients, intercept = np.concatenate([0 * coefficients, coefficients]), np.array([0.0, intercept[0]])
    weights, bias = np.zeros((classes, coefficients.shape[1])), np.full(classes, -np.inf)
    weights[present] = coefficients / scale.deviation
    bias[present] = intercept - weights[present] @ scale.mean
    return LogisticModel(weights.astype(np.float32), bias.astype(np.float32))
