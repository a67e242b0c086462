"""Label and churn tasks on generated users: populations, answers and parts, and nothing from after the cut."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.schemas import microseconds
from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.tasks.classes import CHURNED, STAYED, churn_task, label_task
from portrait.training.evaluation.tasks.kinds import ChurnTask, LabelTask
from portrait.training.evaluation.tasks.task_data import TaskData

CHURN = ChurnTask(
    name="leaves",
    kind="churn",
    active_days=60,
    horizon_days=30,
    train_cuts=(datetime(2024, 8, 1, tzinfo=UTC), datetime(2024, 9, 1, tzinfo=UTC)),
    test_cut=datetime(2024, 11, 1, tzinfo=UTC),
)
TASTE = LabelTask(name="taste", kind="label", labels="generated", column="taste", split="folds", folds=3)


def between(events: pa.Table, since: datetime, until: datetime) -> set[str]:
    rows = events.select(["user_id", "event_time"]).to_pylist()
    return {row["user_id"] for row in rows if since <= row["event_time"] < until}


def test_churn_is_counted_from_the_log(data: TaskData, events: pa.Table) -> None:
    built = churn_task(CHURN, data)
    (fold,) = built.folds
    assert built.names == (STAYED, CHURNED) and built.as_of == built.known_before == CHURN.test_cut
    cut = CHURN.test_cut
    active = between(events, cut - timedelta(days=60), cut)
    later = between(events, cut, cut + timedelta(days=30))
    expected = {user: STAYED if user in later else CHURNED for user in active}
    assert dict(zip(fold.test.rows.ids, fold.test.labels, strict=True)) == expected
    assert len(fold.train) == sum(len(between(events, at - timedelta(days=60), at)) for at in CHURN.train_cuts)


def test_rows_end_at_their_cut(data: TaskData) -> None:
    (fold,) = churn_task(CHURN, data).folds
    for part in (fold.train, fold.test):
        newest = [max(times) for times in part.rows.users["event_times"].to_pylist()]
        assert all(time < at for time, at in zip(newest, part.rows.as_of.tolist(), strict=True))
    assert set(fold.train.rows.as_of.tolist()) == {microseconds(at) for at in CHURN.train_cuts}
    assert fold.inputs.as_of == max(CHURN.train_cuts)  # what baselines are fitted on


def test_only_counted_events_make_a_population(data: TaskData, events: pa.Table) -> None:
    (fold,) = churn_task(replace(CHURN, actions=("purchase",)), data).folds
    bought = events.filter(pa.array([action == "purchase" for action in events["action"].to_pylist()]))
    assert set(fold.test.rows.ids) == between(bought, CHURN.test_cut - timedelta(days=60), CHURN.test_cut)


def test_answers_that_the_log_cannot_know_are_refused(data: TaskData) -> None:
    with pytest.raises(
        InvalidInput, match=r"leaves needs events up to 2025-01-14 00:00, but the log ends at 2024-12-31"
    ):
        churn_task(replace(CHURN, test_cut=datetime(2024, 12, 15, tzinfo=UTC)), data)


def test_nobody_at_a_cut_is_said(data: TaskData) -> None:
    with pytest.raises(InvalidInput, match="leaves has 0 users of 0 classes in training, it needs 20 of 2"):
        churn_task(replace(CHURN, train_cuts=(datetime(2020, 1, 1, tzinfo=UTC),)), data)


def test_every_labelled_user_is_tested_once_by_methods_that_have_not_seen_them(data: TaskData) -> None:
    built = label_task(TASTE, data)
    labels = pq.read_table(data.repo.settings.home / "labels" / "generated.parquet")
    expected = dict(zip(labels["user_id"].to_pylist(), labels["taste"].to_pylist(), strict=True))
    tested: dict[str, str] = {}
    for fold in built.folds:
        mine = dict(zip(fold.test.rows.ids, fold.test.labels, strict=True))
        assert not tested.keys() & mine.keys()
        tested |= mine
        fitted = {user for table in fold.inputs.tables() for user in table["user_id"].to_pylist()}
        assert not fitted & mine.keys() and len(fitted) == fold.inputs.users
        assert set(fold.train.rows.ids) <= fitted
    assert tested == expected and built.names == tuple(sorted(set(expected.values())))


def test_parts_are_the_same_again_and_others_under_another_seed(data: TaskData) -> None:
    def parts(task: LabelTask) -> list[list[str]]:
        return [fold.test.rows.ids for fold in label_task(task, data).folds]

    assert parts(TASTE) == parts(TASTE) != parts(replace(TASTE, seed=1))
    (alone,) = parts(replace(TASTE, split="users"))
    assert 40 < len(alone) < 80  # one user in five of 294


def test_labels_with_times_are_read_as_of_them(data: TaskData, tmp_path: Path) -> None:
    early = microseconds(datetime(2024, 6, 1, tzinfo=UTC))
    users = data.rows().ids
    times = pa.array([early] * len(users)).cast(pa.timestamp("us", tz="UTC"))
    table = pa.table({"user_id": users, "event_time": times, "group": [str(n % 2) for n in range(len(users))]})
    pq.write_table(table, tmp_path / "mine.parquet")
    task = LabelTask(name="mine", kind="label", labels=str(tmp_path / "mine.parquet"), column="group")
    for fold in label_task(task, data).folds:
        assert set(fold.test.rows.as_of.tolist()) == {early}
        flat = fold.test.rows.users["event_times"].combine_chunks().flatten()
        assert np.asarray(flat).max() < early


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": "nobody"}, r"labels = 'nobody': there is no .*; the home has generated\. Put a Parquet file"),
        ({"column": "mood"}, "has no column 'mood'; it has user_id, event_time, taste, churned"),
        ({"labels": "/no/where.csv"}, "there is no labels file /no/where.csv"),
        ({"labels": None, "column": None, "profile": "mood"}, "profile = 'mood': the users table has birth_year, cou"),
    ],
)
def test_labels_that_are_not_there_are_said(data: TaskData, changes: dict[str, str | None], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        label_task(replace(TASTE, **changes), data)  # type: ignore[arg-type]
