"""How well does an exported embedding predict churn on Online Retail II, and how well do plain features?

    python -m benchmarks.churn --data .../online_retail/transactions.parquet --train A.parquet --test B.parquet

A and B are exports of one version, as of the two cuts 2011-06-10 and 2011-09-08. Models are fitted, and their one
setting is chosen, on the first cut alone; the figures are the AUC on the second.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
import typer
from rich.console import Console
from rich.table import Table
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.churn_task import (
    TEST_CUT,
    TRAIN_CUT,
    BoolArray,
    ChurnTask,
    FloatArray,
    Population,
    exported_vectors,
)
from registry.errors import InvalidInput

SEED = 0
FOLDS = StratifiedKFold(5, shuffle=True, random_state=SEED)
RESAMPLES = 1000
ITEM_DIMENSIONS = 80


@dataclass(frozen=True)
class Score:
    """Test AUC of one set of features, with the bootstrap's 95% interval over the test customers."""

    features: str
    model: str
    dimensions: int
    auc: float
    low: float
    high: float


@dataclass(frozen=True)
class Exports:
    """The vectors of one version as of both cuts."""

    name: str
    train: Path
    test: Path


@dataclass(frozen=True)
class _Split:
    """Both cuts, and a way to fit on one and score on the other."""

    train: Population
    test: Population

    def score(self, features: str, model: str, train: FloatArray, test: FloatArray, estimator: Any = None) -> Score:
        """Fit on the train cut (logistic regression unless an estimator is given), score on the test cut."""
        fitted = (estimator or logistic_regression()).fit(train, self.train.churned)
        return self.scored(features, model, train.shape[1], fitted.predict_proba(test)[:, 1])

    def scored(self, features: str, model: str, dimensions: int, risk: FloatArray) -> Score:
        """The score of risks that are already known."""
        whole = np.ones((1, len(risk)))
        drawn = auc(self.test.churned, risk, _resamples(len(risk)))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return Score(
            features, model, dimensions, float(auc(self.test.churned, risk, whole)[0]), float(low), float(high)
        )


def measure(data: Path, exports: list[Exports]) -> list[Score]:
    """Scores of the exports, in their order, and of the plain features after them."""
    with ChurnTask(data) as task:
        split = _Split(task.population(TRAIN_CUT), task.population(TEST_CUT))
        return [*_exported(split, exports), *_plain(task, split)]


def _exported(split: _Split, exports: list[Exports]) -> Iterator[Score]:
    for export in exports:
        train, test = exported_vectors(export.train, split.train), exported_vectors(export.test, split.test)
        yield split.score(export.name, "logistic regression", train, test)


def _plain(task: ChurnTask, split: _Split) -> Iterator[Score]:
    train, test = mean_item_vectors(task.baskets(split.train), task.baskets(split.test))
    yield split.score("mean item vectors (TF-IDF + SVD)", "logistic regression", train, test)
    train, test = task.rfm(split.train), task.rfm(split.test)
    yield split.scored("recency", "none", 1, test[:, 0])
    yield split.score("recency, frequency, money", "gradient boosting", train, test, gradient_boosting())


def logistic_regression() -> GridSearchCV:
    """Standardised logistic regression, its C chosen by cross-validation."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    choices = {"logisticregression__C": np.logspace(-4, 1, 11)}
    return GridSearchCV(pipeline, choices, scoring="roc_auc", cv=FOLDS)


def gradient_boosting() -> GridSearchCV:
    """Gradient boosting, its number of trees chosen by cross-validation."""
    trees = HistGradientBoostingClassifier(learning_rate=0.05, max_leaf_nodes=8, random_state=SEED)
    return GridSearchCV(trees, {"max_iter": [25, 50, 100, 200]}, scoring="roc_auc", cv=FOLDS)


def mean_item_vectors(train: dict[str, list[str]], test: dict[str, list[str]]) -> tuple[FloatArray, FloatArray]:
    """Mean vector of each customer's purchase lines; items are their descriptions, fitted on those of `train`."""
    known = sorted({item for basket in train.values() for item in basket})
    items = sorted(set(known).union(*test.values()))
    text = TfidfVectorizer().fit(known)
    svd = TruncatedSVD(min(ITEM_DIMENSIONS, len(known) - 1), random_state=SEED).fit(text.transform(known))
    vectors = dict(zip(items, svd.transform(text.transform(items)), strict=True))
    means = [
        np.stack([np.mean([vectors[item] for item in basket], axis=0) for basket in baskets.values()])
        for baskets in (train, test)
    ]
    return means[0], means[1]


def auc(truth: BoolArray, score: FloatArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve for each row of `weights` [b, n] over the n cases; ties count one half."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    positive = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * ~truth[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    area: FloatArray = (positive * below).sum(axis=1) / (positive.sum(axis=1) * negative.sum(axis=1))
    return area


def _resamples(cases: int) -> npt.NDArray[np.float64]:
    """How often each case was drawn in each bootstrap sample; the same samples for all features."""
    return np.random.default_rng(SEED).multinomial(cases, np.full(cases, 1 / cases), RESAMPLES).astype(np.float64)


def scores_table(scores: list[Score]) -> Table:
    """The scores for a terminal."""
    table = Table(title=f"Churn, test AUC at {TEST_CUT:%Y-%m-%d}", title_justify="left", title_style="bold")
    for column in ("features", "model"):
        table.add_column(column)
    for column in ("dimensions", "AUC", "95% interval"):
        table.add_column(column, justify="right")
    for score in scores:
        interval = f"{score.low:.3f} .. {score.high:.3f}"
        table.add_row(score.features, score.model, str(score.dimensions), f"{score.auc:.3f}", interval)
    return table


def main(
    data: Annotated[Path, typer.Option(help="transactions.parquet of Online Retail II.")],
    train: Annotated[Path | None, typer.Option(help="Export as of 2011-06-10.")] = None,
    test: Annotated[Path | None, typer.Option(help="Export of the same version as of 2011-09-08.")] = None,
    random_train: Annotated[Path | None, typer.Option(help="The same of an encoder with random weights.")] = None,
    random_test: Annotated[Path | None, typer.Option(help="The same of an encoder with random weights.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Predict churn from exported vectors and from plain features, and print the AUC of each."""
    pairs = [("exported vectors", train, test), ("random-weight encoder", random_train, random_test)]
    try:
        scores = measure(data, [found for pair in pairs if (found := _pair(*pair))])
    except InvalidInput as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False)
        raise typer.Exit(2) from error
    if as_json:
        print(orjson.dumps([asdict(score) for score in scores], option=orjson.OPT_INDENT_2).decode())
    else:
        Console(highlight=False).print(scores_table(scores))


def _pair(name: str, train: Path | None, test: Path | None) -> Exports | None:
    if train is None and test is None:
        return None
    if train is None or test is None:
        raise InvalidInput(f"{name}: give the exports as of both cuts, or neither")
    return Exports(name, train, test)


if __name__ == "__main__":
    typer.run(main)
