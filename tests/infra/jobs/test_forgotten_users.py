"""A forgotten user in files that lie outside: training sets and labels that were made before."""

from datetime import UTC, datetime
from pathlib import Path

from portrait.infra.jobs.datasets import train_and_register
from portrait.infra.portrait import Portrait
from portrait.infra.tables.datasets import trained_head_table
from portrait.training.evaluation.tasks.kinds import Answers
from portrait.training.evaluation.tasks.task_data import TaskData
from tests.infra.tables.test_tables import cells
from tests.training.pinned.made import labels_file, make_set
from tests.training.stored import users_of

MOMENT = datetime(2024, 9, 1, tzinfo=UTC)


def test_heads_and_tasks_leave_forgotten_users_out_and_say_so(backfilled: Portrait, tmp_path: Path) -> None:
    users = users_of(backfilled)
    rows = [{"user_id": user, "event_time": MOMENT, "group": "ab"[n % 2]} for n, user in enumerate(users)]
    labels = labels_file(tmp_path / "labels.parquet", rows)
    made = make_set(backfilled, labels, tmp_path / "set.parquet")
    backfilled.operations.forget("ann", users[0])

    head, record = train_and_register(backfilled, "ranker", (made.out,), "group", "logistic", "", "autoencoder-1")
    assert head.forgotten == 1 and sum(head.users.values()) == len(users) - 1
    assert record.data_stamp != made.stamp.data_stamp
    assert "users forgotten since the set was made" in [row[0] for row in cells(trained_head_table(head, record))]
    found = TaskData(backfilled.repo).answers(Answers(labels=str(labels), column="group"))
    assert sorted(found["user_id"].to_pylist()) == users[1:]
