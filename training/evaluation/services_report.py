"""The comparison as a page: a table a service, and which of the paper's orderings hold."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from training.arrays import Float64
from training.clue.objective import ObjectiveName
from training.evaluation.cross_service import Seen
from training.evaluation.services import METRICS, POPULARITY, RANDOM, UNSEEN, Line

NAMES = {
    "recall": "recall@10",
    "ndcg": "nDCG@10",
    "recall_sampled": "recall@10 of 101",
    "ndcg_sampled": "nDCG@10 of 101",
}


class Mean(NamedTuple):
    """Over seeds."""

    mean: float
    spread: float  # standard deviation; 0 for one seed
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.spread:.4f}" if self.seeds > 1 else f"{self.mean:.4f}"


class Claim(NamedTuple):
    """An ordering of the paper, here."""

    said: str
    target: str
    better: Mean
    worse: Mean
    error: float  # standard error of the difference, over the test users and over seeds

    @property
    def gain(self) -> float:
        """Relative."""
        return self.better.mean / self.worse.mean - 1

    @property
    def verdict(self) -> str:
        """Whether it can be seen: the difference of means against twice its standard error."""
        difference = self.better.mean - self.worse.mean
        if abs(difference) <= 2 * self.error:
            return "not told apart"
        return "holds" if difference > 0 else "does not hold"


def means(lines: Sequence[Line], metric: str) -> dict[tuple[str, str, Seen], Mean]:
    """By service, method and what was seen."""
    return {key: _mean(values) for key, values in _by_user(lines, metric).items()}


def _by_user(lines: Sequence[Line], metric: str) -> dict[tuple[str, str, Seen], Float64]:
    """[seeds, users]."""
    values: dict[tuple[str, str, Seen], list[Float64]] = defaultdict(list)
    for line in lines:
        values[line.target, line.method, line.seen].append(line.values(metric))
    return {key: np.stack(of) for key, of in values.items()}


def _mean(values: Float64) -> Mean:
    of_seed = values.mean(axis=1)
    return Mean(float(of_seed.mean()), float(of_seed.std(ddof=1)) if len(of_seed) > 1 else 0.0, len(of_seed))


def _error(better: Float64, worse: Float64) -> float:
    """Of the difference of means: other test users, whom both were measured on, and other seeds would give another."""
    differences = better.mean(axis=0) - worse.mean(axis=0)
    seeds = sum(_mean(values).spread ** 2 / len(values) for values in (better, worse))
    return float(np.sqrt(differences.var(ddof=1) / len(differences) + seeds))


def claims(lines: Sequence[Line], metric: str = "recall") -> list[Claim]:
    """CLUE section 5: pretext tasks in their order on other services, and what other services add."""
    found, made = _by_user(lines, metric), []
    order = [ObjectiveName.CROSS_SERVICE, ObjectiveName.SAME_SERVICE, ObjectiveName.CATEGORY]
    for target in dict.fromkeys(line.target for line in lines):
        pairs: list[tuple[str, tuple[str, Seen], tuple[str, Seen]]] = [
            (f"{better} beats {worse} (other services)", (better, Seen.OTHER), (worse, Seen.OTHER))
            for better, worse in pairwise(order)
        ]
        best = order[0]
        pairs.append(("other services beat the own history (cross_service)", (best, Seen.OTHER), (best, Seen.OWN)))
        pairs.append(("both beat the own history (cross_service)", (best, Seen.BOTH), (best, Seen.OWN)))
        pairs.append(("never having seen the service beats random weights", (UNSEEN, Seen.OWN), (RANDOM, Seen.OWN)))
        for said, better, worse in pairs:
            one, other = found.get((target, *better)), found.get((target, *worse))
            if one is not None and other is not None:
                made.append(Claim(said, target, _mean(one), _mean(other), _error(one, other)))
    return made


def as_markdown(lines: Sequence[Line]) -> str:
    """Tables and orderings."""
    parts = []
    for target in dict.fromkeys(line.target for line in lines):
        users = next(len(line.ranks) for line in lines if line.target == target)
        parts.append(f"### {target}, {users} test users\n")
        parts += [_table(lines, target, metric) for metric in METRICS]
    for metric in ("recall", "ndcg_sampled"):
        parts.append(f"### Orderings of the paper, by {NAMES[metric]}\n")
        found = claims(lines, metric)
        rows = [f"| {c.target} | {c.said} | {c.better} | {c.worse} | {c.gain:+.1%} | {c.verdict} |" for c in found]
        head = ["| service | ordering | better | worse | gain | |", "|---|---|---|---|---|---|"]
        parts.append("\n".join([*head, *rows]) + "\n")
    return "\n".join(parts)


def _table(lines: Sequence[Line], target: str, metric: str) -> str:
    found = means(lines, metric)
    methods = dict.fromkeys(line.method for line in lines if line.target == target)
    head = f"| {NAMES[metric]} | {' | '.join(Seen)} |\n|---|{'---|' * len(Seen)}"
    rows = []
    for method in methods:
        shown = [found.get((target, method, seen)) for seen in Seen]
        cells = [str(shown[0])] * len(shown) if method == POPULARITY else [str(cell or "") for cell in shown]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([head, *rows]) + "\n"
