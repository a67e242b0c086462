"""Scores of a class task: features, a light head, and AUC or accuracy with their intervals."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from portrait.training.baselines.baseline import Features, Suits
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.evaluation.tasks.classes import ClassTask, Fold, validation_split
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.heads import kinds
from portrait.training.heads.examples import Labelled
from portrait.training.metrics.classes import Interval, auc_interval, log_loss, mean_interval

FEWEST = 10  # tested rows of each class, for AUC
HEADS = {Suits.LINEAR: "logistic", Suits.BOOSTING: "boosting"}
STRENGTHS = (0.3, 1.0, 3.0)
"""Inverse regularisation of the linear head over sparse features, chosen on validation users."""


@dataclass(frozen=True)
class Tested:
    """Probabilities of the classes of all tested rows, over all folds."""

    scores: Float32  # [n, classes]
    codes: Int64
    users: list[str]


def class_metrics(task: ClassTask, method: Method, seed: int) -> tuple[dict[str, Interval], int]:
    """AUC and accuracy with their intervals over users, and how many rows were tested."""
    tested = class_predictions(task, method, seed)
    return class_intervals(task, tested), len(tested.codes)


def class_predictions(task: ClassTask, method: Method, seed: int) -> Tested:
    """Fit a head on each fold, and predict the fold's tested rows."""
    parts = [_test_fold(task, fold, method, seed) for fold in task.folds]
    scores = np.concatenate([part.scores for part in parts])
    codes = np.concatenate([part.codes for part in parts])
    return Tested(scores, codes, [user for part in parts for user in part.users])


def class_intervals(task: ClassTask, tested: Tested) -> dict[str, Interval]:
    """AUC, where there are enough of each class, and accuracy."""
    scores, codes = tested.scores, tested.codes
    _, owner = np.unique(np.asarray(tested.users, dtype=np.str_), return_inverse=True)
    hits = (scores.argmax(axis=1) == codes).astype(np.float64)
    metrics = {"accuracy": mean_interval(hits, owner)}
    if np.bincount(codes, minlength=len(task.names)).min() >= FEWEST:  # else a resample may have none of a class
        metrics = {"auc": auc_interval(scores, codes, tested.users)} | metrics
    return metrics


def _test_fold(task: ClassTask, fold: Fold, method: Method, seed: int) -> Tested:
    features = method.features(fold.inputs, seed)
    train = features.matrix(fold.train.rows.users, fold.train.rows.as_of)
    test = features.matrix(fold.test.rows.users, fold.test.rows.as_of)
    codes = {name: code for code, name in enumerate(task.names)}
    learnt, asked = (np.array([codes[label] for label in part.labels]) for part in (fold.train, fold.test))
    places = list(validation_split(fold.train.rows.ids, seed))
    if sparse.issparse(train):
        scores = _sparse_scores(task, train, learnt, test, places)
    else:
        fit, held = (Labelled(_dense(train, rows), learnt[rows], task.names) for rows in places)
        scores = kinds.get(HEADS[method.suits]).fit(fit, held, seed).scores(_dense(test))
    return Tested(scores, asked, fold.test.rows.ids)


def _dense(features: Features, rows: Int64 | slice = slice(None)) -> Float32:
    found: Float32 = np.ascontiguousarray(features[rows])
    return found


def _sparse_scores(task: ClassTask, train: Features, codes: Int64, test: Features, places: list[Int64]) -> Float32:
    """Logistic regression over raw sparse features: standardising would make them dense, and rare items heavy."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    fit, held = places
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near enough after so many steps
        fitted = [LogisticRegression(C=strength, max_iter=300).fit(train[fit], codes[fit]) for strength in STRENGTHS]

    def scores(model: LogisticRegression, rows: Features) -> Float32:
        found = np.zeros((rows.shape[0], len(task.names)), np.float32)
        found[:, model.classes_] = model.predict_proba(rows)
        return found

    best = min(fitted, key=lambda model: log_loss(scores(model, train[held]), codes[held])) if len(held) else fitted[1]
    return scores(best, test)
