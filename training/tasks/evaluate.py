"""A task measured: the version, and the baselines beside it. Finished lines are on disk, so a killed run goes on."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from feature_repo.progress import Progress, silent
from feature_repo.store import FeatureRepo
from registry.errors import Conflict, InvalidInput
from registry.records import EmbeddingVersion
from registry.tables import GONE_STATES
from training.encoder import Encoder, load_encoder
from training.heads.measures import Interval
from training.new_items import NewItems
from training.run import train
from training.settings import TrainingSettings
from training.tasks.class_scores import class_metrics
from training.tasks.classes import ClassTask, churn_task, label_task
from training.tasks.data import TaskData
from training.tasks.kinds import (
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
from training.tasks.methods import Method, baseline_method
from training.tasks.nearest import NearestTask, nearest_metrics, nearest_task
from training.tasks.ranking_scores import ranking_metrics
from training.tasks.rankings import RankingTask, first_hours_task, interact_task, next_item_task
from training.tasks.transfer import transfer_task

REVISION = 1  # raise it when the same task would be measured another way
FOLDER = "evaluations"
Built = ClassTask | RankingTask | NearestTask


@dataclass(frozen=True)
class Line:
    """One metric of one method, with its 95% interval over users."""

    method: str
    fingerprint: str | None  # of a version; None for a baseline
    metric: str
    value: float
    low: float
    high: float
    rows: int  # that were asked for
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """A task's lines, the version's first."""

    task: str
    as_of: datetime
    data_stamp: str  # which data, and which reading of the task: lines of one stamp compare
    lines: list[Line]
    folder: Path


def evaluate(
    repo: FeatureRepo,
    version: EmbeddingVersion | None,
    task: Task,
    baselines: Sequence[str],
    settings: TrainingSettings,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a version and baselines on a task, and register what the version reached.

    Lines of an earlier run over the same data and task are taken from disk. Raises InvalidInput for a version that has
    seen what the task asks for, and for data that the task cannot be built from; Conflict for a retired version.
    """
    progress = progress or silent
    data = TaskData(repo, task.field if isinstance(task, Answers) else "")
    if version is not None:
        require_usable(task, version)
    stamp = f"{data.newest.id}-{_digest(task)}"
    folder = settings.home / FOLDER / f"{task.name}-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    log = _Log(folder / "lines.jsonl")
    progress(f"building {task.name}", 0, 1)
    built = build(task, data)
    progress(f"building {task.name}", 1, 1)
    if version is not None:
        require_unseen(task, built, version)
    methods = [Method(version.id)] if version is not None else []
    methods += [baseline_method(name) for name in baselines]
    lines: list[Line] = []
    for number, method in enumerate(methods):
        fingerprint = version.fingerprint if version is not None and method.name == version.id else None
        progress("measuring", number, len(methods), method.name)
        found = log.of(method.name, fingerprint)
        if not found:
            if fingerprint is not None and version is not None:
                method = replace(method, encoder=_encoder(repo, version, built, task, folder, settings, progress))
            found = _measured(built, method, fingerprint, task)
            log.add(found)
        lines += found
    progress("measuring", len(methods), len(methods))
    done = Evaluation(task.name, built.as_of, stamp, lines, folder)
    if version is not None:
        _register(repo, version, done)
    return done


def build(task: Task, data: TaskData) -> Built:
    """Users, times and answers of a task; raises InvalidInput when the data cannot tell them."""
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


def require_usable(task: Task, version: EmbeddingVersion) -> None:
    """Raise InvalidInput when the version was trained with the field that is asked for, Conflict when it is gone."""
    if version.state in GONE_STATES:
        raise Conflict(f"version {version.id} is {version.state}: evaluate one that is alive")
    if not isinstance(task, Answers):
        return
    fields = [field["name"] for kind in ("profile", "team") for field in version.feature_schema.get(kind, [])]
    if task.field in fields:
        raise InvalidInput(
            f"version {version.id} was trained with {task.field}, which {task.name} asks for: run "
            f"`portrait train {version.family} --exclude {task.field}` and evaluate the version that it makes"
        )


def require_unseen(task: Task, built: Built, version: EmbeddingVersion) -> None:
    """Raise InvalidInput when the version's training went on into the time of the answers."""
    limit = built.known_before if isinstance(built, ClassTask | RankingTask) else None
    if limit is None or isinstance(task, CrossServiceTask | LabelTask) or version.data_to <= limit:
        return
    alone = isinstance(task, NextItemTask) and task.split == "leave_one_out"
    further = ' With clocks that differ between users, write split = "time".' if alone else ""
    raise InvalidInput(
        f"version {version.id} was trained on events up to {version.data_to:%Y-%m-%d %H:%M}, but the answers of "
        f"{task.name} begin at {limit:%Y-%m-%d %H:%M}: run `portrait train {version.family} --as-of "
        f"{limit:%Y-%m-%dT%H:%M:%S}` and evaluate the version that it makes.{further}"
    )


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
    note = folder / f"{version.fingerprint}.json"
    if not note.exists():
        inputs = replace(built.inputs, exclude=tuple(version.config.get("exclude", ())))
        here = settings.model_copy(update={"home": folder})
        model = train(version.family, recipe(version), inputs, here, progress)
        note.write_text(json.dumps({"artifact": model.artifact}))
    return load_encoder(folder / json.loads(note.read_text())["artifact"])


def recipe(version: EmbeddingVersion) -> list[str]:
    """The version's config as `--set` takes it."""
    told = {name: value for name, value in version.config.items() if not isinstance(value, dict)}
    left_out = ("exclude", "encoder_revision")
    as_text = {name: ",".join(map(str, v)) if isinstance(v, list) else str(v) for name, v in told.items()}
    plain = {name: text.lower() if text in ("True", "False") else text for name, text in as_text.items()}
    return [f"{name}={text}" for name, text in plain.items() if name not in left_out]


def _measured(built: Built, method: Method, fingerprint: str | None, task: Task) -> list[Line]:
    """All metrics, the one that the task names first."""
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
        Line(method.name, fingerprint, name, found.value, found.low, found.high, rows, seconds)
        for name, found in metrics.items()
    ]


def _register(repo: FeatureRepo, version: EmbeddingVersion, done: Evaluation) -> None:
    """The version's values as its evaluations, each once for the same data."""
    versions = repo.registry.versions
    known = {(one.task, one.metric, one.data_stamp) for one in versions.evaluations(version.id)}
    for line in done.lines:
        if line.fingerprint is not None and (done.task, line.metric, done.data_stamp) not in known:
            versions.record_evaluation(
                version.id,
                fingerprint=version.fingerprint,
                task=done.task,
                metric=line.metric,
                value=line.value,
                as_of=done.as_of,
                data_stamp=done.data_stamp,
            )


def _digest(task: Task) -> str:
    """Short, and another one when the task asks for something else."""
    asked = {name: value for name, value in asdict(task).items() if name not in ("description", "baselines")}
    return sha256(json.dumps([REVISION, asked], sort_keys=True, default=str).encode()).hexdigest()[:8]


class _Log:
    """Lines by method, one JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = [Line(**fields) for fields in _whole(path)]

    def of(self, method: str, fingerprint: str | None) -> list[Line]:
        """What was measured of a method, or of a version by its fingerprint."""
        return [line for line in self._lines if (line.method, line.fingerprint) == (method, fingerprint)]

    def add(self, lines: list[Line]) -> None:
        """All metrics of a method at once: half of them are never found."""
        with self._path.open("a") as file:
            file.write(json.dumps([asdict(line) for line in lines]) + "\n")
        self._lines += lines


def _whole(path: Path) -> list[dict[str, Any]]:
    """What was written to its end; a line that a killed process left unfinished is struck out."""
    if not path.exists():
        return []
    whole = [text for text in path.read_text().splitlines(keepends=True) if text.endswith("]\n")]
    scratch = path.with_suffix(".writing")
    scratch.write_text("".join(whole))
    scratch.replace(path)
    return [fields for text in whole for fields in json.loads(text)]
