"""The neighbours task: nDCG@k of each user's nearest others by their cluster (GUR, table 2)."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy import sparse

from portrait.registry.errors import InvalidInput
from portrait.training.baselines.baseline import Features
from portrait.training.encoding.arrays import Float64, Int64
from portrait.training.evaluation.tasks.classes import FEWEST, Examples, labelled_examples
from portrait.training.evaluation.tasks.kinds import NeighboursTask
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.evaluation.tasks.task_data import Rows, TaskData
from portrait.training.inspection.neighbours import unit_rows
from portrait.training.metrics.classes import Interval, mean_interval
from portrait.training.runs.training_inputs import TrainingInputs

BLOCK = 512  # users whose similarities to all others are held at once


@dataclass(frozen=True)
class NearestTask:
    """Users, and the cluster of each."""

    inputs: TrainingInputs
    rows: Rows
    cluster: Int64
    k: int
    as_of: datetime


def nearest_task(task: NeighboursTask, data: TaskData) -> NearestTask:
    """Everybody with a cluster; raises InvalidInput for too few users or a single cluster."""
    examples = _one_each(labelled_examples(data, data.answers(task), task.as_of))
    names, cluster = np.unique(np.asarray(examples.labels, dtype=np.str_), return_inverse=True)
    if len(examples) < max(FEWEST, task.k + 1) or len(names) < 2:
        raise InvalidInput(
            f"{task.name} has {len(examples)} users in {len(names)} clusters, it needs more than k = {task.k} in 2"
        )
    return NearestTask(data.inputs(task.as_of), examples.rows, cluster, task.k, task.as_of or data.newest.as_of)


def nearest_metrics(task: NearestTask, method: Method, seed: int) -> tuple[dict[str, Interval], int]:
    """nDCG@k with its interval over users whose cluster has others."""
    features = method.features(task.inputs, seed).matrix(task.rows.users, task.rows.as_of)
    gains, owner = neighbour_ndcg(features, task.cluster, task.k)
    return {f"ndcg@{task.k}": mean_interval(gains, owner)}, len(gains)


def _one_each(examples: Examples) -> Examples:
    """The latest answer of each user: an earlier one of the same user would be the nearest neighbour."""
    ids = examples.rows.ids
    latest = {ids[place]: place for place in np.argsort(examples.rows.as_of, kind="stable").tolist()}
    return examples.take(np.array(sorted(latest.values()), dtype=np.int64))


def neighbour_ndcg(vectors: Features, cluster: Int64, k: int) -> tuple[Float64, Int64]:
    """(nDCG@k by cosine, row) of each user whose cluster has others; equal cosines keep the order of rows."""
    unit = _unit_sparse(vectors) if sparse.issparse(vectors) else unit_rows(vectors)
    sizes = np.bincount(cluster)[cluster] - 1
    discounts = 1 / np.log2(2 + np.arange(k))
    ideal = np.cumsum(discounts)[np.minimum(sizes, k) - 1]
    users = len(cluster)
    gains = np.empty(users)
    for start in range(0, users, BLOCK):
        rows = np.arange(start, min(start + BLOCK, users))
        found = unit[rows] @ unit.T
        similarity = found.toarray() if sparse.issparse(found) else found
        similarity[rows - start, rows] = -np.inf
        best = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(best, order, axis=1)
        gains[rows] = ((cluster[near] == cluster[rows, None]) * discounts).sum(axis=1)
    told = np.flatnonzero(sizes > 0)
    return gains[told] / ideal[told], told


def _unit_sparse(vectors: sparse.csr_array) -> sparse.csr_array:
    """Rows at length 1 that stay sparse: filled up, bags of thousands of words take gigabytes."""
    from sklearn.preprocessing import normalize

    unit: sparse.csr_array = normalize(vectors.astype(np.float64))
    return unit
