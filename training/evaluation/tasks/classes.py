"""Tasks whose answer is a class: labels that users have, and who will leave."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.schemas import from_microseconds, microseconds
from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import Int64
from portrait.training.evaluation.tasks.kinds import ChurnTask, LabelTask
from portrait.training.evaluation.tasks.task_data import Rows, TaskData, exclude_users, flags, hash_users, places_of
from portrait.training.runs.training_inputs import TrainingInputs

FEWEST = 20  # examples of each part
TEST_SHARE = 0.2  # of a single split by users
STAYED, CHURNED = "stayed", "churned"
OTHER = "other"  # classes beyond the most frequent ones


@dataclass(frozen=True)
class Examples:
    """Users at times, and the class of each."""

    rows: Rows
    labels: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: Int64) -> "Examples":
        return Examples(self.rows.take(places), [self.labels[place] for place in places.tolist()])


@dataclass(frozen=True)
class Fold:
    """The inputs and examples that methods may learn from, and the examples that they are measured on."""

    inputs: TrainingInputs  # of the training users alone, or as of the training cut
    train: Examples
    test: Examples


@dataclass(frozen=True)
class ClassTask:
    """A built task; the classes are in the order of `names`."""

    names: tuple[str, ...]
    folds: list[Fold]
    as_of: datetime  # of the measurement
    known_before: datetime | None  # a version must not have seen events from here on; None: no time in it


def label_task(task: LabelTask, data: TaskData) -> ClassTask:
    """Users with a label, dealt into parts by a hash of their id; raises InvalidInput when they are too few."""
    examples = labelled_examples(data, data.answers(task), task.as_of)
    if task.top is not None:
        named = {name for name, _ in Counter(examples.labels).most_common(task.top)}
        examples = replace(examples, labels=[name if name in named else OTHER for name in examples.labels])
    draw = hash_users(examples.rows.ids, f"label-{task.seed}")
    parts = task.folds if task.split == "folds" else round(1 / TEST_SHARE)
    part = (draw * parts).astype(np.int64)
    names = tuple(sorted(set(examples.labels)))
    if len(names) < 2:
        raise InvalidInput(
            f"{task.name}: everybody's {task.field} is {', '.join(names) or 'unknown'}; there is nothing to tell apart"
        )
    tested = range(parts) if task.split == "folds" else range(1)
    folds = [_fold(task, data, examples, part == one, one) for one in tested]
    as_of = task.as_of or data.newest.as_of
    return ClassTask(names, folds, as_of, task.as_of)


def labelled_examples(data: TaskData, answers: pa.Table, as_of: datetime | None) -> Examples:
    """The users who have an answer and are known, as of a time or of the time that comes with the answer if earlier."""
    everybody = data.rows(as_of)
    places = places_of(answers["user_id"].combine_chunks(), everybody.users)
    mine = answers.filter(pa.array(places >= 0)).combine_chunks()
    labels: list[str] = mine["answer"].to_pylist()
    if mine["as_of"].null_count == len(mine):
        return Examples(everybody.take(places[places >= 0]), labels)
    latest = int(everybody.as_of.max(initial=0))
    times = np.minimum(np.asarray(pc.fill_null(mine["as_of"].combine_chunks(), latest)), latest)
    return Examples(data.rows_at(mine["user_id"].combine_chunks(), times), labels)


def churn_task(task: ChurnTask, data: TaskData) -> ClassTask:
    """Populations at the training cuts and at the test cut; raises InvalidInput when they are too small."""
    data.require_until(task.test_cut + timedelta(days=task.horizon_days), task.name)
    train = [_population(task, data, moment) for moment in task.train_cuts]
    joined = Examples(Rows.joined([part.rows for part in train]), [label for part in train for label in part.labels])
    test = _population(task, data, task.test_cut)
    _require_training(task, joined)
    _require(task.name, test, "to test")
    fold = Fold(data.inputs(max(task.train_cuts)), joined, test)
    return ClassTask((STAYED, CHURNED), [fold], task.test_cut, task.test_cut)


def _population(task: ChurnTask, data: TaskData, moment: datetime) -> Examples:
    active = data.events(task, moment - timedelta(days=task.active_days), moment)["user_id"].combine_chunks().unique()
    later = data.events(task, moment, moment + timedelta(days=task.horizon_days))["user_id"].combine_chunks().unique()
    rows = data.rows_at(active, np.full(len(active), microseconds(moment)))
    stayed = flags(rows.users["user_id"].combine_chunks(), later)
    return Examples(rows, np.where(stayed, STAYED, CHURNED).tolist())


def _fold(task: LabelTask, data: TaskData, examples: Examples, tested: np.ndarray, number: int) -> Fold:
    test, train = examples.take(np.flatnonzero(tested)), examples.take(np.flatnonzero(~tested))
    _require_training(task, train)
    _require(task.name, test, "to test")
    others = exclude_users(test.rows.users["user_id"].combine_chunks())
    return Fold(data.inputs(task.as_of, others, f"{task.name}-{task.seed}-{number}"), train, test)


def _require_training(task: LabelTask | ChurnTask, examples: Examples) -> None:
    _require(task.name, examples, "in training")
    fitted = next(validation_split(examples.rows.ids, task.seed))
    [*classes] = {examples.labels[place] for place in fitted.tolist()}
    if len(classes) < 2:
        raise InvalidInput(
            f"{task.name}: all training users but those who choose the head's setting are {', '.join(classes)}: "
            "ingest more, or give the task another seed"
        )


def _require(name: str, examples: Examples, where: str) -> None:
    found = len(set(examples.labels))
    if len(examples) < FEWEST or found < 2:
        at = f" as of {from_microseconds(int(examples.rows.as_of.max())):%Y-%m-%d}" if len(examples) else ""
        raise InvalidInput(
            f"{name} has {len(examples)} users of {found} classes {where}{at}, it needs {FEWEST} of 2: "
            "ingest more, or choose other cuts"
        )


def validation_split(users: list[str], seed: int) -> Iterator[Int64]:
    """Places for training, then places for choosing: one user in five, with all of the user's rows."""
    held = hash_users(users, f"choose-{seed}") < 0.2
    yield np.flatnonzero(~held)
    yield np.flatnonzero(held)
