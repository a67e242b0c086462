"""CLUE's comparison on one instance: pretext tasks and plain features, by what a user's vector is made from.

The lines of every finished method are on disk, so that a run which was cut short goes on with the next one.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.log.durable_files import write_whole
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress, silent
from portrait.training.clue.objective import ObjectiveName
from portrait.training.encoding.arrays import Float32, Float64
from portrait.training.encoding.encoder import Encoder
from portrait.training.encoding.vocabulary import Vocabulary, catalogue_keys, item_keys
from portrait.training.evaluation.cross_service import CrossServiceRanking, Seen, cross_service_task, training_users
from portrait.training.evaluation.event_choice import owners, with_events
from portrait.training.heads.examples import Chosen, Items
from portrait.training.heads.two_tower import TwoTower
from portrait.training.json_lines import JsonLines
from portrait.training.metrics.ranking import full_ranks, ndcg, recall, sampled_ranks
from portrait.training.metrics.user_split import UserPart
from portrait.training.modality.text import fit as fit_text
from portrait.training.runs.parallel_jobs import in_turn, side_by_side
from portrait.training.runs.trained_once import train_once
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings

POPULARITY, MEAN_TEXT, RANDOM = "popularity", "mean item text", "random weights"
UNSEEN = "cross_service, never saw the service"
TEXT_DIMENSION = 80
RANKS = ("ranks", "ranks_sampled")
Key: TypeAlias = tuple[str, Seen, str, int]  # service, what is seen, method, seed
METRICS = ("recall", "ndcg", "recall_sampled", "ndcg_sampled")  # all at 10; sampled: among 100 others


@dataclass(frozen=True)
class ComparisonPlan:
    """The services, seeds and methods to compare."""

    targets: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    overrides: tuple[str, ...] = ()  # of clue's config
    clock: bool = True  # whether the services' times can be compared
    objectives: tuple[ObjectiveName, ...] = tuple(ObjectiveName)
    unseen: bool = False  # also encoders whose training saw neither events nor items of the service that is asked for


@dataclass(frozen=True)
class RankLine:
    """One measurement: the rank of each test user's item, 0 the best; the same users in the same order in all lines."""

    target: str
    seen: Seen
    method: str
    seed: int
    ranks: tuple[int, ...]  # among all items of the service
    ranks_sampled: tuple[int, ...]  # among 100 others

    @property
    def key(self) -> Key:
        """(service, what is seen, method, seed)."""
        return self.target, self.seen, self.method, self.seed

    def values(self, metric: str) -> Float64:
        """float64 [users] values of one of METRICS."""
        measure, _, sampled = metric.partition("_")
        ranks = np.array(self.ranks_sampled if sampled else self.ranks, dtype=np.int64)
        return recall(ranks) if measure == "recall" else ndcg(ranks)

    def summary(self) -> dict[str, str | int | float]:
        """The fields of its key, and the means over the users."""
        means = {metric: float(self.values(metric).mean()) for metric in METRICS}
        what: dict[str, str | int | float]
        what = {"target": self.target, "seen": self.seen, "method": self.method, "seed": self.seed}
        return {**what, "users": len(self.ranks), **means}


@dataclass(frozen=True)
class VectorMethod:
    """A way to make vectors of users."""

    name: str
    seed: int
    targets: tuple[str, ...]  # the services that it is measured on
    further: tuple[str, ...] | None = None  # of clue's config; None: nothing is trained
    without: str | None = None  # a service of which its training saw neither events nor items

    @property
    def keys(self) -> list[Key]:
        """Keys of its lines."""
        return [(target, seen, self.name, self.seed) for target in self.targets for seen in Seen]


@dataclass(frozen=True)
class Job:
    """A method with the keys that are still to be measured."""

    method: VectorMethod
    missing: tuple[Key, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that measuring a method needs; it is sent to workers."""

    inputs: TrainingInputs
    users: pa.Table
    texts: "_TextVectors"
    plan: ComparisonPlan
    folder: Path
    settings: TrainingSettings

    @cached_property
    def tasks(self) -> dict[str, CrossServiceRanking]:
        """The tasks by service; raises InvalidInput for a service that too few users have."""
        return {target: cross_service_task(self.users, target) for target in self.plan.targets}

    def __call__(self, job: Job, progress: Progress = silent) -> list[RankLine]:
        """Train the method, unless that is done, and measure what is missing."""
        encoder = _encoder(self, job.method, progress)
        return [
            _measure(self.tasks[target], seen, job.method, encoder, self.texts, self.plan.clock)
            for target, seen, *_ in job.missing
        ]


def compare(
    inputs: TrainingInputs,
    plan: ComparisonPlan,
    folder: Path,
    settings: TrainingSettings,
    progress: Progress | None = None,
) -> list[RankLine]:
    """All lines of the plan, those of an earlier run that was cut short among them; raises InvalidInput.

    With one CPU worker a training (the default) methods are trained and measured side by side through Ray; with none
    in this process, and with several or on GPUs by Ray Train, they take turns.
    """
    progress = progress or silent
    folder.mkdir(parents=True, exist_ok=True)
    _require_same(folder, inputs, plan)
    log = JsonLines(folder / "lines.jsonl")
    users = pa.concat_tables(inputs.tables()).combine_chunks()
    given = replace(inputs, tables=lambda: iter([users]))
    comparison = Comparison(given, users, _TextVectors(inputs.catalogue), plan, folder, settings)
    if not comparison.tasks:  # an impossible task is refused before anything is trained
        raise InvalidInput("there is no service to rank the items of: give one")
    lines = _read_lines(log)
    methods = list(_methods(plan))
    asked = (Job(method, tuple(key for key in method.keys if key not in lines)) for method in methods)
    jobs = [job for job in asked if job.missing]
    progress("measuring", 0, len(jobs))
    if settings.num_workers == 1 and not settings.use_gpu:
        alone = replace(comparison, settings=settings.model_copy(update={"num_workers": 0}))
        outcomes = side_by_side(alone, jobs, settings)
    else:
        outcomes = in_turn(partial(comparison, progress=progress), jobs)
    for done, (job, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Exception):
            raise outcome
        log.append(*(asdict(line) for line in outcome))
        lines |= {line.key: line for line in outcome}
        progress("measuring", done, len(jobs), f"{job.method.name}, seed {job.method.seed}")
    ours = [lines.pop(key) for method in methods for key in method.keys]
    return ours + list(lines.values())  # those of an earlier plan come last


def _methods(plan: ComparisonPlan) -> Iterator[VectorMethod]:
    yield VectorMethod(POPULARITY, 0, plan.targets)
    for seed in plan.seeds:
        yield VectorMethod(MEAN_TEXT, seed, plan.targets)
        yield VectorMethod(RANDOM, seed, plan.targets, ("epochs=0",))
        for objective in plan.objectives:
            yield VectorMethod(objective, seed, plan.targets, (f"objective={objective}",))
        for target in plan.targets if plan.unseen else ():
            yield VectorMethod(UNSEEN, seed, (target,), (), target)


def _without(inputs: TrainingInputs, service: str) -> TrainingInputs:
    """The inputs as they were before the service opened."""

    def tables() -> Iterator[pa.Table]:
        for table in inputs.tables():
            yield with_events(table, np.asarray(pc.not_equal(table["services"].combine_chunks().flatten(), service)))

    catalogue = inputs.catalogue.filter(pc.not_equal(inputs.catalogue["service"], service))
    return replace(inputs, tables=tables, catalogue=catalogue, snapshot=f"{inputs.snapshot}-without-{service}")


def _encoder(comparison: Comparison, method: VectorMethod, progress: Progress) -> Encoder | None:
    """An encoder trained on the training users alone; a finished training is not done again."""
    if method.further is None:
        return None
    inputs, plan = comparison.inputs, comparison.plan
    given = inputs if method.without is None else _without(inputs, method.without)
    mine = replace(given, tables=lambda: training_users(given.tables()), snapshot=f"{given.snapshot}-training-users")
    chosen = {
        text.partition("=")[0].strip(): text for text in (*plan.overrides, *method.further, f"seed={method.seed}")
    }
    name = [*method.further, *([f"unseen-{method.without}"] if method.without else []), str(method.seed)]
    note = "-".join(name).replace("=", "-")
    encoder = train_once(comparison.folder, note, "clue", list(chosen.values()), mine, comparison.settings, progress)
    if method.without is not None:
        encoder.learn(inputs.catalogue, position=1)  # as it would when the service opens: by its items' texts
    return encoder


def _measure(
    task: CrossServiceRanking,
    seen: Seen,
    method: VectorMethod,
    encoder: Encoder | None,
    texts: "_TextVectors",
    clock: bool,
) -> RankLine:
    test = task.parts[UserPart.TEST]
    if method.name == POPULARITY:
        scores = np.repeat(task.popularity[None].astype(np.float32), len(test), axis=0)
    else:
        keys = item_keys(pa.array([task.service] * len(task.items)), pa.array(task.items.values))
        items = Items(texts.of_items(keys), task.popularity)
        data = {part: _data(task, part, seen, encoder, texts, clock, items) for part in UserPart}
        head = TwoTower().fit(data[UserPart.TRAIN], data[UserPart.VALIDATION], method.seed)
        scores = head.scores(data[UserPart.TEST].vectors)
    full = full_ranks(scores, test.item, test.hidden)
    sampled = sampled_ranks(scores, test.item, test.hidden, seed=0)  # the same negatives for every method
    return RankLine(task.service, seen, method.name, method.seed, tuple(full.tolist()), tuple(sampled.tolist()))


def _data(
    task: CrossServiceRanking,
    part: UserPart,
    seen: Seen,
    encoder: Encoder | None,
    texts: "_TextVectors",
    clock: bool,
    items: Items,
) -> Chosen:
    examples = task.parts[part]
    users = examples.seen(task.service, seen, clock)
    as_of = _after(users)
    vectors = texts.mean(users) if encoder is None else encoder.encode(users, as_of)
    return Chosen(vectors, examples.item, examples.hidden, items)


def _after(users: pa.Table) -> int:
    times = users["event_times"].combine_chunks().flatten().to_numpy()
    return int(times.max(initial=0)) + 1


class _TextVectors:
    """TF-IDF and SVD vectors of the catalogue: every head's features of items, and the plain user vector."""

    def __init__(self, catalogue: pa.Table) -> None:
        encoder = fit_text(catalogue, TEXT_DIMENSION, seed=0)
        self._codes = Vocabulary(dict.fromkeys(catalogue_keys(catalogue).to_pylist()))
        vectors = np.zeros((len(self._codes) + 1, TEXT_DIMENSION), dtype=np.float32)  # the last: unknown items
        if encoder is not None:
            found = np.nan_to_num(encoder.vectors(catalogue))
            vectors[self._codes.encode(catalogue_keys(catalogue)), : found.shape[1]] = found
        self._vectors = vectors

    def of_items(self, keys: pa.Array) -> Float32:
        """float32 [n, 80] of item keys; zeros where nothing is written."""
        found: Float32 = self._vectors[self._codes.encode(keys)]
        return found

    def mean(self, users: pa.Table) -> Float32:
        """float32 [users, 80] the mean over each user's events."""
        keys = item_keys(*(users[name].combine_chunks().flatten() for name in ("services", "item_ids")))
        owner, sums = owners(users), np.zeros((users.num_rows, TEXT_DIMENSION), dtype=np.float64)
        np.add.at(sums, owner, self.of_items(keys))
        counts = np.bincount(owner, minlength=users.num_rows)
        return (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)


def _read_lines(log: JsonLines) -> dict[Key, RankLine]:
    lines = [
        RankLine(**{**fields, "seen": Seen(fields["seen"])} | {name: tuple(fields[name]) for name in RANKS})
        for fields in log.resume()
    ]
    return {line.key: line for line in lines}


def _require_same(folder: Path, inputs: TrainingInputs, plan: ComparisonPlan) -> None:
    """Lines of a folder are of one data set and one config; further targets, seeds and methods may join them."""
    file = folder / "plan.json"
    data = {"snapshot": inputs.snapshot, "items_position": inputs.items_position}
    asked = {**data, "overrides": sorted(plan.overrides), "clock": plan.clock}
    if not file.exists() and not (folder / "lines.jsonl").exists():
        write_whole(file, json.dumps(asked))
    kept = json.loads(file.read_text()) if file.exists() else {}
    differing = [name for name in asked if kept.get(name) != asked[name]]
    if differing:
        told = "; ".join(f"{name} was {kept.get(name, 'not recorded')}, is {asked[name]}" for name in differing)
        raise InvalidInput(f"{folder} holds another comparison ({told}): choose another --name")
