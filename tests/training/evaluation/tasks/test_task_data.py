"""The data of tasks: labels as they are written, users as they were, and a stamp that changes with the answers."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sqlalchemy import update

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.tables import SegmentRow
from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.tasks.classes import label_task
from portrait.training.evaluation.tasks.evaluate import stamp_of
from portrait.training.evaluation.tasks.kinds import Answers, FirstHoursTask, LabelTask, NeighboursTask
from portrait.training.evaluation.tasks.nearest import nearest_task
from portrait.training.evaluation.tasks.rankings import first_hours_task
from portrait.training.evaluation.tasks.task_data import TaskData, hash_users

if TYPE_CHECKING:
    from portrait.infra.portrait import Portrait

JUNE = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def own(registered_home: Path, tmp_path: Path) -> "Iterator[Portrait]":
    """An instance that a test may change."""
    from tests.instances import labelled_copy_of

    with labelled_copy_of(registered_home, tmp_path / "own") as portrait:
        yield portrait


def answers(path: Path) -> Answers:
    return Answers(labels=str(path), column="group")


@pytest.mark.parametrize("name", ["mine.csv", "mine.csv.gz"])
def test_an_id_of_digits_stays_as_it_is_written(data: TaskData, tmp_path: Path, name: str) -> None:
    text = b"user_id,group\n007,01\n7,1\n,2\n8,\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = data.answers(answers(tmp_path / name))
    assert [row for row in found.select(["user_id", "answer"]).to_pylist() if row["user_id"] and row["answer"]] == [
        {"user_id": "007", "answer": "01"},
        {"user_id": "7", "answer": "1"},
    ]


@pytest.mark.parametrize(
    "column",
    [
        {"group": [["a"]], "event_time": [JUNE]},
        {"group": ["a"], "event_time": ["last June"]},
    ],
)
def test_labels_that_cannot_be_read_are_said_with_their_file(
    data: TaskData, tmp_path: Path, column: dict[str, list[object]]
) -> None:
    path = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"user_id": ["u"], **column}), path)
    with pytest.raises(InvalidInput, match=f"^{path}: user_id, group or event_time cannot be read: "):
        data.answers(answers(path))


def test_times_of_any_unit_are_read_to_the_microsecond(data: TaskData, tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    times = pa.array([1_717_200_000_000_000_123], pa.timestamp("ns"))
    pq.write_table(pa.table({"user_id": ["u"], "group": ["a"], "event_time": times}), path)
    assert data.answers(answers(path))["as_of"].to_pylist() == [1_717_200_000_000_000]


def test_a_profile_that_changed_since_is_as_it_was(own: "Portrait", tmp_path: Path) -> None:
    before = TaskData(own.repo).rows(JUNE).users
    countries = pc.unique(before["country"].drop_null())
    moved = TaskData(own.repo).rows().users.select(["user_id", "created_time", "country"])
    moved = moved.set_column(2, "country", pa.array(["XX"] * moved.num_rows))
    pq.write_table(moved, tmp_path / "moved.parquet")
    ingest(own.repo.log, users=tmp_path / "moved.parquet")
    data = TaskData(own.repo)
    assert pc.unique(data.rows().users["country"]).to_pylist() == ["XX"]
    after = data.rows(JUNE).users
    assert after.drop_columns(["computed_at"]).equals(before.drop_columns(["computed_at"]))
    assert "XX" not in countries.to_pylist()


def test_new_users_said_at_sign_up_what_was_ingested_after_it(own: "Portrait") -> None:
    with own.repo.log.database.transaction() as session:  # the log began before anybody signed up
        session.execute(
            update(SegmentRow)
            .where(SegmentRow.kind == SegmentKind.EVENTS)
            .values(committed_at=datetime(2020, 1, 1, tzinfo=UTC))
        )
    task = FirstHoursTask(name="first", kind="first_hours", cut=JUNE, hours=500.0)
    rows = first_hours_task(task, TaskData(own.repo)).test.rows.users
    assert all(rows["created_time"].is_valid().to_pylist())
    assert any(rows["onboarding_items"].to_pylist())


def test_lines_are_of_the_labels_and_items_that_they_were_measured_on(own: "Portrait", tmp_path: Path) -> None:
    task = LabelTask(name="taste", kind="label", labels="generated", column="taste")
    first = stamp_of(task, TaskData(own.repo))
    assert stamp_of(task, TaskData(own.repo)) == first
    item = {"service": ["shop"], "item_id": ["new"], "text": ["a lamp"]}
    pq.write_table(pa.table(item), tmp_path / "items.parquet")
    ingest(own.repo.log, items=tmp_path / "items.parquet")
    second = stamp_of(task, TaskData(own.repo))
    path = own.settings.home / "labels" / "generated.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    assert len({first, second, stamp_of(task, TaskData(own.repo))}) == 3


def test_a_user_with_two_answers_is_nobodys_neighbour_twice(data: TaskData, tmp_path: Path) -> None:
    users = data.rows().ids
    table = {
        "user_id": users + users,
        "event_time": [JUNE] * len(users) + [datetime(2024, 9, 1, tzinfo=UTC)] * len(users),
    }
    groups = ["early"] * len(users) + [str(n % 2) for n in range(len(users))]
    pq.write_table(pa.table({**table, "group": groups}), tmp_path / "mine.parquet")
    near = NeighboursTask(name="near", kind="neighbours", labels=str(tmp_path / "mine.parquet"), column="group", k=5)
    built = nearest_task(near, data)
    assert sorted(built.rows.ids) == sorted(users) and set(built.cluster.tolist()) == {0, 1}


def test_a_class_that_only_the_choosing_users_have_is_said(data: TaskData, tmp_path: Path) -> None:
    users = data.rows().ids
    groups = ["rare" if draw < 0.2 else "usual" for draw in hash_users(users, "choose-0")]
    pq.write_table(pa.table({"user_id": users, "group": groups}), tmp_path / "mine.parquet")
    task = LabelTask(name="mine", kind="label", labels=str(tmp_path / "mine.parquet"), column="group")
    with pytest.raises(InvalidInput, match=r"mine: all training users but those who choose .* are usual: ingest more"):
        label_task(task, data)
