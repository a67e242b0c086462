"""Scores of a consumer's model on features or vectors: its metric with the interval, and its seconds."""

import time
from dataclasses import dataclass, field

import pyarrow as pa

from portrait.registry.errors import InvalidInput
from portrait.training.baselines.baseline import Features, UserFeatures
from portrait.training.encoding.arrays import Int64
from portrait.training.evaluation.suites.cost.consumers import CostConsumer
from portrait.training.evaluation.tasks.class_scores import class_intervals, class_predictions
from portrait.training.evaluation.tasks.classes import ClassTask
from portrait.training.evaluation.tasks.kinds import ChurnTask, LabelTask
from portrait.training.evaluation.tasks.leakage import Built
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.evaluation.tasks.ranking_scores import fit_scorer, ranking_intervals
from portrait.training.evaluation.tasks.rankings import RankingTask
from portrait.training.metrics.classes import Interval
from portrait.training.runs.training_inputs import TrainingInputs


@dataclass(frozen=True)
class Score:
    """Metric and seconds of one side of one consumer."""

    consumer: str
    method: str  # curated, or a model's name
    metric: str
    value: float
    low: float  # 95% interval over users
    high: float
    rows: int  # that were asked for
    features_seconds: float  # of training and test users
    head_seconds: float  # fitting and choosing


def measure_score(consumer: CostConsumer, built: Built, method: Method) -> Score:
    """Fit a head on the features of a method and test it; raises InvalidInput where the metric is undefined."""
    task, watch = consumer.task, Stopwatch()
    clocked = _Clocked(method.name, method.suits, method.encoder, method, watch)
    started = time.perf_counter()
    metrics: dict[str, Interval]
    if isinstance(built, ClassTask):
        tested = class_predictions(built, clocked, task.seed)
        seconds, before = time.perf_counter() - started, watch.seconds
        metrics, rows = class_intervals(built, tested), len(tested.codes)
        name: str = task.metric if isinstance(task, ChurnTask | LabelTask) else "auc"
    else:
        assert isinstance(built, RankingTask)
        scorer = fit_scorer(built, clocked, task.seed)
        seconds, before = time.perf_counter() - started, watch.seconds
        metrics, rows = ranking_intervals(built, scorer, task.seed), len(built.test)
        name = "auc_by_user" if built.drawn is not None else f"ndcg@{built.k}"
    if name not in metrics:
        raise InvalidInput(f"{task.name} has too few tested users of a class for {name}: ingest more")
    found = metrics[name]
    return Score(
        consumer=consumer.name,
        method=method.name,
        metric=name,
        value=found.value,
        low=found.low,
        high=found.high,
        rows=rows,
        features_seconds=watch.seconds,
        head_seconds=seconds - before,
    )


@dataclass
class Stopwatch:
    """Seconds that features took."""

    seconds: float = 0.0


@dataclass(frozen=True)
class _Timed:
    features: UserFeatures
    watch: Stopwatch

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Features:
        started = time.perf_counter()
        found = self.features.matrix(users, as_of)
        self.watch.seconds += time.perf_counter() - started
        return found


@dataclass(frozen=True)
class _Clocked(Method):
    method: Method = field(default_factory=lambda: Method(""))
    watch: Stopwatch = field(default_factory=Stopwatch)

    def features(self, inputs: TrainingInputs, seed: int) -> _Timed:
        started = time.perf_counter()
        features = self.method.features(inputs, seed)
        self.watch.seconds += time.perf_counter() - started
        return _Timed(features, self.watch)
