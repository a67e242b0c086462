"""The downstream score of a run: how well one view of a user ranks the items of the other (CLUE section 4).

The features are frozen, the head is a ridge regression in closed form, and its users are others than those it is
scored on, as CLUE's protocol wants. The views are the pretext's: two services of a user, or the halves of one. What is
ranked are items as such, not their vectors, so that scores of different models compare.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.trainee import HELD_OUT, ClueTrainee
from portrait.training.encoding.arrays import Float64, Int64

HEAD_USERS = 4096  # that the head learns from: the same in every run, trained on or not
TOP = 10
RIDGE = 1.0  # beside the sum over users of squares of a vector of length 1
FEWEST = 20  # users of a service, below which nothing is learned or scored
ROWS = 256  # ranked at once; bounds memory


def recall(trainee: ClueTrainee, head_users: Int64) -> float | None:
    """recall@10 on the held-out users, from 0 to 1: of the items of one view (at most ten), the share that the other
    view's vector ranks among the ten first of that service. None when no service has enough users.
    """
    head = list(_tasks(trainee, head_users[:HEAD_USERS]))
    test = {task.service: task for task in _tasks(trainee, trainee.held_out)}
    hits = [_hits(task, test[task.service]) for task in head if task.service in test]
    if not hits:
        return None
    score = float(np.concatenate(hits).mean())
    return score if np.isfinite(score) else None


@dataclass(frozen=True)
class _Task:
    """The users with one view in this service: the vector of their other view, and the view's items."""

    service: int
    vectors: Float64  # [n, dimension]
    items: csr_array  # [n, items] share of the view's events


def _tasks(trainee: ClueTrainee, users: Int64) -> Iterator[_Task]:
    histories = trainee.views.histories
    # Spans for every objective: the crops of one that draws them would share events with what is ranked.
    spans = trainee.views.spans(users, np.random.default_rng(HELD_OUT))
    vectors = trainee.encoded(*(histories.padded(*span) for span in spans)).double().cpu().numpy()
    sources = np.concatenate([vectors[:, 1], vectors[:, 0]])
    begins, ends = (np.concatenate([first, second]) for first, second in zip(*spans, strict=True))
    service = histories.service[np.searchsorted(histories.starts, begins, side="right") - 1]
    for one in np.unique(service):
        rows = np.flatnonzero((service == one) & (ends > begins))
        if len(rows) >= FEWEST:
            yield _Task(int(one), sources[rows], _shares(histories, begins[rows], ends[rows]))


def _shares(histories: ServiceHistories, begins: Int64, ends: Int64) -> csr_array:
    lengths = ends - begins
    starts = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(starts[-1]) + np.repeat(begins - starts[:-1], lengths)
    shape = len(begins), int(histories.items.max()) + 1
    shares = csr_array((np.repeat(1 / lengths, lengths), histories.items[places], starts), shape=shape)
    shares.sum_duplicates()
    return shares


def _hits(head: _Task, test: _Task) -> Float64:
    """[n] recall@10 of each tested user."""
    known = np.unique(head.items.indices)  # an item that nobody of the head has is never ranked
    mean_vector, mean_share = head.vectors.mean(axis=0), np.asarray(head.items.mean(axis=0)).ravel()[known]
    centred = head.vectors - mean_vector
    if not np.isfinite(centred).all() or not np.isfinite(test.vectors).all():
        return np.full(len(test.vectors), np.nan)  # a diverged model
    gram = centred.T @ centred + RIDGE * np.eye(centred.shape[1])
    weights = np.linalg.solve(gram, np.asarray((head.items[:, known].T @ centred).T))
    found = np.empty(len(test.vectors))
    for start in range(0, len(found), ROWS):
        rows = slice(start, start + ROWS)
        scores = mean_share + (test.vectors[rows] - mean_vector) @ weights
        first = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
        there = test.items[rows]
        wanted = np.diff(there.indptr)
        listed = there[:, known].toarray() > 0
        found[rows] = np.take_along_axis(listed, first, axis=1).sum(axis=1) / np.minimum(wanted, TOP)
    return found
