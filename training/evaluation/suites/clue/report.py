"""The report of the comparison: a table for each service, and which of the paper's orderings hold."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from portrait.training.clue.objective import ObjectiveName
from portrait.training.encoding.arrays import Float64
from portrait.training.evaluation.cross_service import Seen
from portrait.training.evaluation.gains import Gain, draw_gains
from portrait.training.evaluation.suites.clue.suite import METRICS, POPULARITY, RANDOM, UNSEEN, RankLine

NAMES = {
    "recall": "recall@10",
    "ndcg": "nDCG@10",
    "recall_sampled": "recall@10 of 101",
    "ndcg_sampled": "nDCG@10 of 101",
}


ORDERED = ("recall", "ndcg_sampled")  # metrics that orderings are judged by
PICTURED = "ndcg_sampled"  # the steadiest of the metrics
CROSS, SAME, CATEGORY = ObjectiveName.CROSS_SERVICE, ObjectiveName.SAME_SERVICE, ObjectiveName.CATEGORY
CLAIMS: tuple[tuple[str, tuple[str, Seen], tuple[str, Seen], float | None], ...] = (
    (f"{CROSS} beats {SAME} (other services)", (CROSS, Seen.OTHER), (SAME, Seen.OTHER), 0.15),  # 10 to 20%
    (f"{SAME} beats {CATEGORY} (other services)", (SAME, Seen.OTHER), (CATEGORY, Seen.OTHER), 0.095),  # 7 to 12%
    (f"other services beat the own history ({CROSS})", (CROSS, Seen.OTHER), (CROSS, Seen.OWN), 0.511 / 0.458 - 1),
    (f"both beat the own history ({CROSS})", (CROSS, Seen.BOTH), (CROSS, Seen.OWN), 0.542 / 0.458 - 1),
    ("never having seen the service beats random weights", (UNSEEN, Seen.OWN), (RANDOM, Seen.OWN), None),
)
"""CLUE section 5: orderings of pretext tasks and of seen services, with the paper's relative gain in recall@10."""


class Mean(NamedTuple):
    """Mean and spread of a metric over seeds."""

    mean: float
    spread: float  # standard deviation; 0 for one seed
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.spread:.4f}" if self.seeds > 1 else f"{self.mean:.4f}"


class Ordering(NamedTuple):
    """An ordering of the paper, measured here."""

    said: str
    target: str
    better: Mean
    worse: Mean
    error: float  # standard error of the difference, over the test users and over seeds
    paper: float | None  # its gain, if it reports one

    @property
    def gain(self) -> Gain:
        """The relative gain with twice its standard error; without a value where the worse one scores 0."""
        what = f"{self.target}: {self.said}"
        if self.worse.mean == 0:
            return Gain(what, math.nan, math.nan, math.nan, self.paper)
        value, off = self.better.mean / self.worse.mean - 1, 2 * self.error / self.worse.mean
        return Gain(what, value, value - off, value + off, self.paper)

    @property
    def verdict(self) -> str:
        """Whether the ordering holds: the difference of means against twice its standard error."""
        difference = self.better.mean - self.worse.mean
        if abs(difference) <= 2 * self.error:
            return "not told apart"
        return "holds" if difference > 0 else "does not hold"


def means(lines: Sequence[RankLine], metric: str) -> dict[tuple[str, str, Seen], Mean]:
    """Means over seeds by service, method and what was seen."""
    return {key: _mean(values) for key, values in _by_user(lines, metric).items()}


def _by_user(lines: Sequence[RankLine], metric: str) -> dict[tuple[str, str, Seen], Float64]:
    """float64 [seeds, users] values by service, method and what was seen."""
    values: dict[tuple[str, str, Seen], list[Float64]] = defaultdict(list)
    for line in lines:
        values[line.target, line.method, line.seen].append(line.values(metric))
    return {key: np.stack(of) for key, of in values.items()}


def _mean(values: Float64) -> Mean:
    of_seed = values.mean(axis=1)
    return Mean(float(of_seed.mean()), float(of_seed.std(ddof=1)) if len(of_seed) > 1 else 0.0, len(of_seed))


def _error(better: Float64, worse: Float64) -> float:
    """Standard error of the difference of means, over the test users, who are the same for both, and over seeds."""
    differences = better.mean(axis=0) - worse.mean(axis=0)
    seeds = sum(_mean(values).spread ** 2 / len(values) for values in (better, worse))
    return float(np.sqrt(differences.var(ddof=1) / len(differences) + seeds))


def claims(lines: Sequence[RankLine], metric: str = "recall") -> list[Ordering]:
    """The measured ones of CLAIMS, service by service."""
    found, made = _by_user(lines, metric), []
    for target in dict.fromkeys(line.target for line in lines):
        for said, better, worse, paper in CLAIMS:
            one, other = found.get((target, *better)), found.get((target, *worse))
            if one is not None and other is not None:
                made.append(Ordering(said, target, _mean(one), _mean(other), _error(one, other), paper))
    return made


def write_report(lines: Sequence[RankLine], folder: Path) -> Path:
    """Write report.md, gains.png and numbers.json into the folder; returns the page's path."""
    (folder / "numbers.json").write_text(json.dumps(plain_numbers(lines), indent=1) + "\n")
    if found := claims(lines, PICTURED):
        draw_gains([claim.gain for claim in found], folder / "gains.png")
    page = folder / "report.md"
    page.write_text(as_markdown(lines))
    return page


def plain_numbers(lines: Sequence[RankLine]) -> dict[str, Any]:
    """All lines and orderings as plain values."""
    orderings = [{"metric": metric, **_numbers(claim)} for metric in ORDERED for claim in claims(lines, metric)]
    return {"lines": [line.summary() for line in lines], "orderings": orderings}


def _numbers(claim: Ordering) -> dict[str, Any]:
    return {"target": claim.target, "said": claim.said, **claim.gain.numbers(), "sign": claim.verdict}


def as_markdown(lines: Sequence[RankLine]) -> str:
    parts = ["![gains](gains.png)\n"] if claims(lines, PICTURED) else []
    for target in dict.fromkeys(line.target for line in lines):
        users = next(len(line.ranks) for line in lines if line.target == target)
        parts.append(f"### {target}, {users} test users\n")
        parts += [_table(lines, target, metric) for metric in METRICS]
    for metric in ORDERED:
        parts.append(f"### Orderings of the paper, by {NAMES[metric]}\n")
        found = claims(lines, metric)
        head = ["| service | ordering | better | worse | gain | the paper's | sign | size |", "|" + "---|" * 8]
        parts.append("\n".join([*head, *map(_row, found)]) + "\n")
    return "\n".join(parts)


def _row(claim: Ordering) -> str:
    paper = "" if claim.paper is None else f"{claim.paper:+.1%}"
    return (
        f"| {claim.target} | {claim.said} | {claim.better} | {claim.worse} | {claim.gain} | {paper} "
        f"| {claim.verdict} | {claim.gain.size} |"
    )


def _table(lines: Sequence[RankLine], target: str, metric: str) -> str:
    found = means(lines, metric)
    methods = dict.fromkeys(line.method for line in lines if line.target == target)
    head = f"| {NAMES[metric]} | {' | '.join(Seen)} |\n|---|{'---|' * len(Seen)}"
    rows = []
    for method in methods:
        shown = [found.get((target, method, seen)) for seen in Seen]
        cells = [str(shown[0])] * len(shown) if method == POPULARITY else [str(cell or "") for cell in shown]
        rows.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([head, *rows]) + "\n"
