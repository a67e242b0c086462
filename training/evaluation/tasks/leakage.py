"""Checks against leakage: a version that has seen the answers of a task must not be measured on it."""

from portrait.registry.database.tables import GONE_STATES
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.evaluation.tasks.classes import ClassTask
from portrait.training.evaluation.tasks.kinds import Answers, CrossServiceTask, LabelTask, NextItemTask, Task
from portrait.training.evaluation.tasks.nearest import NearestTask
from portrait.training.evaluation.tasks.rankings import RankingTask

Built = ClassTask | RankingTask | NearestTask


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
    fitted = built.folds[0].inputs if isinstance(built, ClassTask) else built.inputs
    fair = min(limit, fitted.as_of)  # what baselines are fitted on: the version then knows no more than they do
    alone = isinstance(task, NextItemTask) and task.split == "leave_one_out"
    further = ' With clocks that differ between users, write split = "time".' if alone else ""
    raise InvalidInput(
        f"version {version.id} was trained on events up to {version.data_to:%Y-%m-%d %H:%M}, but the answers of "
        f"{task.name} begin at {limit:%Y-%m-%d %H:%M}: run `portrait train {version.family} --as-of "
        f"{fair:%Y-%m-%dT%H:%M:%S}` and evaluate the version that it makes.{further}"
    )
