"""The evaluation of versions and baselines on a task. Finished lines are on disk, so a killed run goes on."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.encoding.later_items import NewItems
from portrait.training.evaluation.line_log import Line, LineLog, difference
from portrait.training.evaluation.tasks.class_scores import class_metrics
from portrait.training.evaluation.tasks.classes import ClassTask, churn_task, label_task
from portrait.training.evaluation.tasks.kinds import (
    Answers,
    ChurnTask,
    CrossServiceTask,
    FirstHoursTask,
    InteractTask,
    LabelTask,
    NeighboursTask,
    NextItemTask,
    Task,
)
from portrait.training.evaluation.tasks.leakage import Built, require_unseen, require_usable
from portrait.training.evaluation.tasks.methods import Method, baseline_method
from portrait.training.evaluation.tasks.nearest import nearest_metrics, nearest_task
from portrait.training.evaluation.tasks.ranking_scores import ranking_metrics
from portrait.training.evaluation.tasks.rankings import RankingTask, first_hours_task, interact_task, next_item_task
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.evaluation.tasks.transfer import transfer_task
from portrait.training.metrics.classes import Interval
from portrait.training.runs.trained_once import train_once
from portrait.training.runs.training_inputs import ONBOARDING, TrainingInputs
from portrait.training.settings import TrainingSettings

REVISION = 2  # raise it when the same task would be measured another way
FOLDER = "evaluations"


@dataclass(frozen=True)
class TaskEvaluation:
    """A task's lines, those of versions first."""

    task: str
    as_of: datetime
    data_stamp: str  # which data, and which reading of the task: lines of one stamp compare
    lines: list[Line]
    folder: Path

    def ahead(self, line: Line) -> Interval | None:
        """The lead of the first version in the same metric; None for its own lines, and without a version."""
        own = (one for one in self.lines if one.fingerprint is not None and one.metric == line.metric)
        version = next(own, None)
        return None if version is None or version is line else difference(version, line)

    def numbers(self) -> dict[str, Any]:
        """Everything as plain values; `ahead` is [value, low, high] of the version's lead over each other method."""
        leads = [self.ahead(line) for line in self.lines]
        lines = [
            {**line.shown(), "ahead": lead and [lead.value, lead.low, lead.high]}
            for line, lead in zip(self.lines, leads, strict=True)
        ]
        return {
            "task": self.task,
            "as_of": self.as_of,
            "data_stamp": self.data_stamp,
            "lines": lines,
            "folder": self.folder,
        }


def evaluate(
    repo: FeatureRepo,
    version: EmbeddingVersion | None,
    task: Task,
    baselines: Sequence[str],
    settings: TrainingSettings,
    progress: Progress | None = None,
    beside: Sequence[EmbeddingVersion] = (),
) -> TaskEvaluation:
    """Measure a version, others beside it and baselines on a task, and register what the versions reached.

    Lines of an earlier run over the same data and task are taken from disk. Raises InvalidInput for a version that has
    seen what the task asks for, and for data that the task cannot be built from; Conflict for a retired version.
    """
    progress = progress or silent
    versions = {one.id: one for one in (version, *beside) if one is not None}
    read = {field for one in versions.values() for field in one.team_fields}
    data = TaskData(repo, task.field if isinstance(task, Answers) else "", read)
    for one in versions.values():
        require_usable(task, one)
    stamp = stamp_of(task, data)
    folder = settings.home / FOLDER / f"{task.name}-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    log = LineLog(folder / "lines.jsonl")
    progress(f"building {task.name}", 0, 1)
    built = build(task, data)
    progress(f"building {task.name}", 1, 1)
    for one in versions.values():
        require_unseen(task, built, one)
    methods = [*map(Method, versions), *map(baseline_method, baselines)]
    lines: list[Line] = []
    for number, method in enumerate(methods):
        measuring = versions.get(method.name)
        fingerprint = None if measuring is None else measuring.fingerprint
        progress("measuring", number, len(methods), method.name)
        found = log.lines_of(method.name, fingerprint)
        if not found:
            if measuring is not None:
                method = replace(method, encoder=_encoder(repo, measuring, built, task, folder, settings, progress))
            found = measure_lines(built, method, fingerprint, task)
            log.add(found)
        lines += found
    progress("measuring", len(methods), len(methods))
    done = TaskEvaluation(task.name, built.as_of, stamp, lines, folder)
    for one in versions.values():
        register(repo, one, done)
    return done


def build(task: Task, data: TaskData) -> Built:
    """Users, times and answers of a task; raises InvalidInput when the data do not suffice."""
    builders: dict[type, Callable[[Any, TaskData], Built]] = {
        LabelTask: label_task,
        ChurnTask: churn_task,
        InteractTask: interact_task,
        NextItemTask: next_item_task,
        FirstHoursTask: first_hours_task,
        CrossServiceTask: transfer_task,
        NeighboursTask: nearest_task,
    }
    return builders[type(task)](task, data)


def _encoder(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    built: Built,
    task: Task,
    folder: Path,
    settings: TrainingSettings,
    progress: Progress,
) -> Encoder:
    """The version's encoder; where users must be new to it, its recipe trained again without them."""
    if not (isinstance(task, CrossServiceTask) and isinstance(built, RankingTask)):
        encoder = load_encoder(settings.home / version.artifact, version.fingerprint)
        NewItems(repo.log).bring(encoder)
        return encoder
    inputs = replace(built.inputs, exclude=hidden_from(version, built.inputs))
    return train_once(folder, version.fingerprint, version.family, recipe(version), inputs, settings, progress)


def hidden_from(version: EmbeddingVersion, inputs: TrainingInputs) -> tuple[str, ...]:
    """The fields of the inputs that a version's recipe does not see: those excluded, and views of other versions."""
    here = {*inputs.schema.names, ONBOARDING}
    others = {field.name for field in inputs.schema.team} - {*version.team_fields}
    return tuple(sorted(others | ({*version.config.get("exclude", ())} & here)))


def recipe(version: EmbeddingVersion) -> list[str]:
    """The version's config as `--set` takes it."""
    told = {name: value for name, value in version.config.items() if not isinstance(value, dict)}
    left_out = ("exclude", "encoder_revision")
    as_text = {name: ",".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in told.items()}
    plain = {name: text.lower() if text in ("True", "False") else text for name, text in as_text.items()}
    return [f"{name}={text}" for name, text in plain.items() if name not in left_out]


def measure_lines(built: Built, method: Method, fingerprint: str | None, task: Task) -> list[Line]:
    """Measure a method: a line for each metric, the one that the task names first."""
    started = time.monotonic()
    metrics: dict[str, Interval]
    if isinstance(built, ClassTask):
        metrics, rows = class_metrics(built, method, task.seed)
    elif isinstance(built, RankingTask):
        metrics, rows = ranking_metrics(built, method, task.seed)
    else:
        metrics, rows = nearest_metrics(built, method, task.seed)
    named = getattr(task, "metric", "")
    metrics = dict(sorted(metrics.items(), key=lambda pair: pair[0] != named))
    seconds = time.monotonic() - started
    return [
        Line(method.name, fingerprint, name, found.value, found.low, found.high, rows, seconds, _short(found.resamples))
        for name, found in metrics.items()
    ]


def _short(resamples: tuple[float, ...]) -> tuple[float, ...]:
    """Six digits each, as a line keeps a thousand of them."""
    return tuple(round(value, 6) for value in resamples)


def register(repo: FeatureRepo, version: EmbeddingVersion, done: TaskEvaluation) -> None:
    """Record the lines of the version's fingerprint as its evaluations, each once for the same data."""
    versions = repo.registry.versions
    known = {(one.task, one.metric, one.data_stamp) for one in versions.evaluations(version.id)}
    for line in done.lines:
        if line.fingerprint == version.fingerprint and (done.task, line.metric, done.data_stamp) not in known:
            versions.record_evaluation(
                version.id,
                fingerprint=version.fingerprint,
                task=done.task,
                metric=line.metric,
                value=line.value,
                as_of=done.as_of,
                data_stamp=done.data_stamp,
            )


def stamp_of(task: Task, data: TaskData) -> str:
    """The stamp of data and task; it changes when either changes."""
    return f"{data.newest.id}-{_digest(task, data.sources(task))}"


def _digest(task: Task, sources: list[str]) -> str:
    """A short digest that changes when the task's question or its sources change."""
    asked = {name: value for name, value in asdict(task).items() if name not in ("description", "baselines")}
    return sha256(json.dumps([REVISION, asked, sources], sort_keys=True, default=str).encode()).hexdigest()[:8]
