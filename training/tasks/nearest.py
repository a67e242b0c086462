"""Whether near users are alike: nDCG@k of each user's nearest others by their cluster (GUR, table 2)."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from scipy import sparse

from registry.errors import InvalidInput
from training.arrays import Float32, Float64, Int64
from training.heads.measures import Interval
from training.inputs import TrainingInputs
from training.neighbours import unit_rows
from training.tasks.classes import FEWEST, labelled
from training.tasks.data import Rows, TaskData
from training.tasks.intervals import mean_interval
from training.tasks.kinds import NeighboursTask
from training.tasks.methods import Method

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
    examples = labelled(data, data.answers(task), task.as_of)
    names, cluster = np.unique(np.asarray(examples.labels, dtype=np.str_), return_inverse=True)
    if len(examples) < max(FEWEST, task.k + 1) or len(names) < 2:
        raise InvalidInput(
            f"{task.name} has {len(examples)} users in {len(names)} clusters, it needs more than k = {task.k} in 2"
        )
    return NearestTask(data.inputs(task.as_of), examples.rows, cluster, task.k, task.as_of or data.newest.as_of)


def nearest_metrics(task: NearestTask, method: Method, seed: int) -> tuple[dict[str, Interval], int]:
    """nDCG@k with its interval over users whose cluster has others."""
    found = method.features(task.inputs, seed).of(task.rows.users, task.rows.as_of)
    vectors: Float32 = found.toarray() if sparse.issparse(found) else found
    gains, owner = neighbour_ndcg(vectors, task.cluster, task.k)
    return {f"ndcg@{task.k}": mean_interval(gains, owner)}, len(gains)


def neighbour_ndcg(vectors: Float32, cluster: Int64, k: int) -> tuple[Float64, Int64]:
    """nDCG@k by cosine of each user whose cluster has others, and who that is; equal cosines in the order of rows."""
    unit = unit_rows(vectors)
    sizes = np.bincount(cluster)[cluster] - 1
    discounts = 1 / np.log2(2 + np.arange(k))
    ideal = np.cumsum(discounts)[np.minimum(sizes, k) - 1]
    gains = np.empty(len(unit))
    for start in range(0, len(unit), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(unit)))
        similarity = unit[rows] @ unit.T
        similarity[rows - start, rows] = -np.inf
        best = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(similarity, best, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(best, order, axis=1)
        gains[rows] = ((cluster[near] == cluster[rows, None]) * discounts).sum(axis=1)
    told = np.flatnonzero(sizes > 0)
    return gains[told] / ideal[told], told
