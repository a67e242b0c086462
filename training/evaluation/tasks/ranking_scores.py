"""Scores of a ranking task: hit rate and nDCG at k among all items, and AUC against drawn items."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from scipy import sparse

from portrait.registry.errors import InvalidInput
from portrait.training.baselines.baseline import UserFeatures
from portrait.training.baselines.mean_vectors import item_vectors
from portrait.training.encoding.arrays import UNKNOWN, Bool, Float32, Float64, Int64
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.evaluation.tasks.rankings import Asked, Drawn, RankingTask
from portrait.training.evaluation.tasks.task_data import Rows, hash_users
from portrait.training.heads.examples import Chosen, Items
from portrait.training.heads.two_tower import CHOOSE_BY, TwoTower
from portrait.training.metrics.classes import Interval, auc_interval, mean_interval
from portrait.training.metrics.ranking import auc_by_user, full_ranks

BLOCK = 4_000_000  # scores that are held at once
NEVER = np.iinfo(np.int64).max  # rank of an item that no method could know
Scorer: TypeAlias = Callable[[Rows], Float32]


@dataclass(frozen=True)
class _Found:
    """Results of a block of test rows: the rank of each answer, and the scores of answers and of drawn items."""

    ranks: Int64  # [m]
    own: Float32  # of the known answers
    others: Float32  # [negatives]


def ranking_metrics(task: RankingTask, method: Method, seed: int) -> tuple[dict[str, Interval], int]:
    """Means with their intervals over users, and how many answers were asked for."""
    return ranking_intervals(task, fit_scorer(task, method, seed), seed), len(task.test)


def fit_scorer(task: RankingTask, method: Method, seed: int) -> Scorer:
    """Fit the method's own ranker, or the two-tower head on its features."""
    return _ranker(task, method, seed) if method.ranks else _towers(task, method, seed)


def ranking_intervals(task: RankingTask, scorer: Scorer, seed: int) -> dict[str, Interval]:
    """Hit rate and nDCG at k, and AUC where items are drawn."""
    drawn = _draw(task, seed)
    found = list(_blocks(task, scorer, drawn))
    ranks = np.concatenate([part.ranks for part in found])
    metrics = {
        f"hr@{task.k}": _by_row(task, (ranks < task.k).astype(np.float64), np.maximum.at),
        f"ndcg@{task.k}": _by_row(task, _gains(task, ranks), np.add.at),
    }
    intervals = {name: mean_interval(values, users_of(task)) for name, values in metrics.items()}
    if task.drawn is not None:
        own, others = (np.concatenate([getattr(part, name) for part in found]) for name in ("own", "others"))
        intervals = _areas(task, own, others, drawn) | intervals
    return intervals


def users_of(task: RankingTask) -> Int64:
    """[rows] which user each test row is."""
    _, owner = np.unique(np.asarray(task.test.rows.ids, dtype=np.str_), return_inverse=True)
    return owner.astype(np.int64)


def _gains(task: RankingTask, ranks: Int64) -> Float64:
    """1 / log2(2 + rank) within k, as a share of what the row's answers could have at most."""
    most = np.cumsum(1 / np.log2(2 + np.arange(task.k)))
    answers = np.bincount(task.test.owner, minlength=len(task.test.rows))
    ideal = most[np.minimum(answers, task.k) - 1]
    gains: Float64 = np.where(ranks < task.k, 1 / np.log2(2 + np.minimum(ranks, task.k)), 0.0) / ideal[task.test.owner]
    return gains


def _by_row(task: RankingTask, values: Float64, gather: Callable[..., None]) -> Float64:
    rows = np.zeros(len(task.test.rows))
    gather(rows, task.test.owner, values)
    return rows


def _areas(task: RankingTask, own: Float32, others: Float32, drawn: tuple[Int64, Int64]) -> dict[str, Interval]:
    owner = np.concatenate([task.test.owner[task.test.item != UNKNOWN], drawn[0]])
    scores = np.concatenate([own, others])
    truth = np.arange(len(scores)) < len(own)
    within, people = auc_by_user(scores.astype(np.float64), truth, owner)
    ids = np.asarray(task.test.rows.ids, dtype=np.str_)[owner]
    pooled = auc_interval(np.column_stack([-scores, scores]), truth.astype(np.int64), ids)
    return {"auc": pooled, "auc_by_user": mean_interval(within, users_of(task)[people])}


def _blocks(task: RankingTask, scorer: Scorer, drawn: tuple[Int64, Int64]) -> Iterator[_Found]:
    """Ranks and scores of the test rows, block by block, which bounds memory."""
    rows = max(BLOCK // len(task.items), 1)
    test = task.test
    for start in range(0, len(test.rows), rows):
        stop = min(start + rows, len(test.rows))
        scores = scorer(test.rows.take(np.arange(start, stop)))
        hidden = task.had[start:stop].toarray() > 0
        mine = slice(*np.searchsorted(test.owner, (start, stop)))
        owner, item = test.owner[mine] - start, test.item[mine]
        known = np.flatnonzero(item != UNKNOWN)
        hidden[owner[known], item[known]] = False
        ranks = np.full(len(item), NEVER)
        for at in range(0, len(known), rows):
            some = known[at : at + rows]
            ranks[some] = full_ranks(scores[owner[some]], item[some], hidden[owner[some]])
        away = slice(*np.searchsorted(drawn[0], (start, stop)))
        others = scores[drawn[0][away] - start, drawn[1][away]]
        yield _Found(ranks, scores[owner[known], item[known]], others)


def _draw(task: RankingTask, seed: int) -> tuple[Int64, Int64]:
    """(row, item) that were not had: as many as asked for, less those that were had after all; rows ascend."""
    if task.drawn is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rng = np.random.default_rng(seed)
    known = task.test.item != UNKNOWN
    answer_row, answer = task.test.owner[known], task.test.item[known]
    row = np.repeat(answer_row, task.drawn.negatives)
    item = rng.choice(len(task.items), len(row), p=_chances(task, task.drawn))
    answered = np.isin(row * len(task.items) + item, answer_row * len(task.items) + answer)
    kept = ~answered & (np.asarray(task.had[row, item]).ravel() == 0)
    return row[kept], item[kept]


def _chances(task: RankingTask, drawn: Drawn) -> Float64 | None:
    return task.popularity / task.popularity.sum() if drawn.by_popularity else None


def _ranker(task: RankingTask, method: Method, seed: int) -> Scorer:
    """A method that ranks by itself; items that it does not know come last."""
    ranker = method.ranker(task.inputs, seed)
    columns = ranker.items.encode(pa.array(task.items.values))

    def scores(rows: Rows) -> Float32:
        found = ranker.scores(rows.users, rows.as_of)
        last = np.full((len(rows), 1), found.min(initial=0) - 1, np.float32)
        return np.concatenate([found, last], axis=1)[:, columns]  # unknown is -1

    assert UNKNOWN == -1
    return scores


def _towers(task: RankingTask, method: Method, seed: int) -> Scorer:
    """Features of users under the two-tower head; it knows items by the vectors of all modalities."""
    features = method.features(task.inputs, seed)
    known = item_vectors(task.inputs, seed).of_items(pa.array(task.items.values))
    items = Items(known, task.popularity)
    fit, choose = _parts(task, seed)
    head = TwoTower().fit(
        _item_examples(features, fit, items, ranked=False), _item_examples(features, choose, items, ranked=True), seed
    )
    return lambda rows: head.scores(_vectors(features, rows))


def _parts(task: RankingTask, seed: int) -> tuple[Asked, Asked]:
    """(answers that the head learns from, answers of other users that it chooses its epoch by)."""
    if task.choose is not None:
        return task.train, _first(task.choose)
    held = (hash_users(task.train.rows.ids, f"choose-{seed}") < 0.1)[task.train.owner]
    if held.all() or not held.any():
        raise InvalidInput("there are too few training users to choose a head by: ingest more, or add training cuts")
    return _where(task.train, ~held), _first(_where(task.train, held))


def _where(asked: Asked, kept: Bool) -> Asked:
    return Asked(asked.rows, asked.owner[kept], asked.item[kept])


def _first(asked: Asked) -> Asked:
    return Asked(asked.rows, asked.owner[:CHOOSE_BY], asked.item[:CHOOSE_BY])


def _item_examples(features: UserFeatures, asked: Asked, items: Items, ranked: bool) -> Chosen:
    """One example for each answer. Nothing is hidden from the rankings, which keeps the choice of an epoch quick."""
    rows, at = np.unique(asked.owner, return_inverse=True)
    vectors = _vectors(features, asked.rows.take(rows))[at]
    hidden = np.zeros((len(asked), len(items.popularity) if ranked else 0), bool)
    return Chosen(vectors, asked.item, hidden, items)


def _vectors(features: UserFeatures, rows: Rows) -> Float32:
    found = features.matrix(rows.users, rows.as_of)
    return found.toarray() if sparse.issparse(found) else found
