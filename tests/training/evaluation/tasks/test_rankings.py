"""Ranking tasks on generated users: what is asked, what may be seen, and what is drawn."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from portrait.feature_repo.schemas import microseconds
from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import UNKNOWN
from portrait.training.encoding.vocabulary import item_id
from portrait.training.evaluation.tasks.kinds import CrossServiceTask, FirstHoursTask, InteractTask, NextItemTask
from portrait.training.evaluation.tasks.methods import Method, baseline_method
from portrait.training.evaluation.tasks.ranking_scores import _draw, ranking_metrics
from portrait.training.evaluation.tasks.rankings import RankingTask, first_hours_task, interact_task, next_item_task
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.evaluation.tasks.transfer import transfer_task

CUTS = {"train_cuts": (datetime(2024, 9, 1, tzinfo=UTC), datetime(2024, 10, 1, tzinfo=UTC))}
WEEK = InteractTask(
    name="week", kind="interact", horizon_days=20, active_days=90, test_cut=datetime(2024, 11, 1, tzinfo=UTC), **CUTS
)
LAST = NextItemTask(name="last", kind="next_item", split="leave_one_out", new_only=False)
FIRST = FirstHoursTask(name="first", kind="first_hours", cut=datetime(2024, 6, 1, tzinfo=UTC), hours=500.0)


def asked(task: RankingTask) -> dict[str, list[str]]:
    """The answers of each test user, in their order."""
    found: dict[str, list[str]] = {}
    ids = task.test.rows.ids
    for owner, item in zip(task.test.owner.tolist(), task.test.item.tolist(), strict=True):
        found.setdefault(ids[owner], []).append("?" if item == UNKNOWN else item_id(task.items.values[item]))
    return found


def happened(events: pa.Table, since: datetime, until: datetime) -> dict[str, list[str]]:
    """Items of each user in a stretch of time, in order, each once."""
    rows = sorted(events.to_pylist(), key=lambda row: row["event_time"])
    found: dict[str, list[str]] = {}
    for row in rows:
        if since <= row["event_time"] < until and row["item_id"] not in found.setdefault(row["user_id"], []):
            found[row["user_id"]].append(row["item_id"])
    return {user: items for user, items in found.items() if items}


def with_unknown(found: dict[str, list[str]], task: RankingTask) -> dict[str, list[str]]:
    known = {item_id(key) for key in task.items.values}
    named = {user: [item if item in known else "?" for item in items] for user, items in found.items()}
    return {user: list(dict.fromkeys(items)) for user, items in named.items()}


def test_a_week_asks_for_what_active_users_had(data: TaskData, events: pa.Table) -> None:
    task = interact_task(WEEK, data)
    cut = WEEK.test_cut
    active = happened(events, cut - timedelta(days=90), cut).keys()
    after = happened(events, cut, cut + timedelta(days=20))
    assert asked(task) == with_unknown({user: items for user, items in after.items() if user in active}, task)
    assert task.known_before == cut and set(task.test.rows.as_of.tolist()) == {microseconds(cut)}


def test_only_new_items_are_asked_for_and_ranked(data: TaskData, events: pa.Table) -> None:
    task = interact_task(replace(WEEK, new_only=True), data)
    before = happened(events, datetime(2024, 1, 1, tzinfo=UTC), WEEK.test_cut)
    assert all(not set(items) & set(before[user]) for user, items in asked(task).items())
    had = [{item_id(task.items.values[column]) for column in row.nonzero()[0]} for row in task.had.toarray()]
    known = {item_id(key) for key in task.items.values}
    assert had == [set(before[user]) & known for user in task.test.rows.ids]


def test_drawn_items_were_not_had(data: TaskData) -> None:
    task = interact_task(replace(WEEK, new_only=True, drawn="popularity", negatives=5), data)
    row, item = _draw(task, 0)
    pairs = set(zip(row.tolist(), item.tolist(), strict=True))
    assert not pairs & set(zip(task.test.owner.tolist(), task.test.item.tolist(), strict=True))
    assert np.asarray(task.had[row, item]).max() == 0
    assert 3 * len(task.test) < len(row) <= 5 * len(task.test) and (np.diff(row) >= 0).all()
    popular = task.popularity[item].mean()
    even = task.popularity[_draw(interact_task(replace(WEEK, new_only=True), data), 0)[1]].mean()
    assert popular > 1.3 * even


def test_leaving_one_out_hides_the_last_two(data: TaskData, events: pa.Table) -> None:
    task = next_item_task(LAST, data)
    rows = sorted(events.to_pylist(), key=lambda row: row["event_time"])
    items: dict[str, list[str]] = {}
    for row in rows:
        items.setdefault(row["user_id"], []).append(row["item_id"])
    last = {user: [mine[-1]] for user, mine in items.items() if len(mine) >= 3}
    assert asked(task) == with_unknown(last, task)
    seen = {
        user: len(had)
        for t in task.inputs.tables()
        for user, had in zip(*t.select(["user_id", "item_ids"]).to_pydict().values(), strict=True)
    }
    assert all(seen[user] <= len(items[user]) - 2 for user in last)
    assert task.known_before == min(
        row for row in (datetime.fromtimestamp(t / 1e6, UTC) for t in task.train.rows.as_of.tolist())
    )


def test_the_first_item_after_a_cut_is_one(data: TaskData, events: pa.Table) -> None:
    told = replace(LAST, split="time", test_cut=WEEK.test_cut, horizon_days=20, active_days=90, **CUTS)
    task = next_item_task(told, data)
    after = happened(events, WEEK.test_cut, WEEK.test_cut + timedelta(days=20))
    assert all(items == with_unknown({user: after[user][:1]}, task)[user] for user, items in asked(task).items())
    assert len(task.test) == len(task.test.rows) > 50


def test_new_users_are_seen_as_they_signed_up(data: TaskData, events: pa.Table) -> None:
    task = first_hours_task(FIRST, data)
    table = data.rows().users
    created = dict(zip(table["user_id"].to_pylist(), table["created_time"].to_pylist(), strict=True))
    for user, items in asked(task).items():
        assert created[user] >= FIRST.cut
        until = created[user] + timedelta(hours=500)
        mine = events.filter(pc.equal(events["user_id"], user))
        assert items == with_unknown(happened(mine, created[user], until), task)[user]
    assert not len(task.test.rows.users["item_ids"].combine_chunks().flatten())
    assert any(task.test.rows.users["onboarding_items"].to_pylist())
    blind = first_hours_task(replace(FIRST, onboarding=False), data)
    assert not any(blind.test.rows.users["onboarding_items"].to_pylist()) and asked(blind) == asked(task)


def test_services_are_asked_of_by_users_whom_nothing_has_seen(data: TaskData) -> None:
    task = transfer_task(CrossServiceTask(name="shop", kind="cross_service", target="shop"), data)
    fitted = {user for table in task.inputs.tables() for user in table["user_id"].to_pylist()}
    assert fitted and not fitted & set(task.test.rows.ids)
    assert {service for services in task.test.rows.users["services"].to_pylist() for service in services} == {
        "music",
        "video",
    }
    assert all(key.startswith("shop\x1f") for key in task.items.values)
    metrics, rows = ranking_metrics(task, baseline_method("item-knn"), 0)
    assert rows == len(task.test) and set(metrics) == {"hr@10", "ndcg@10"}


@pytest.mark.parametrize("name", ["popularity", "pmf", "mean-items"])
def test_methods_are_measured(data: TaskData, name: str) -> None:
    task = interact_task(WEEK, data)
    metrics, rows = ranking_metrics(task, baseline_method(name), 0)
    assert rows == len(task.test) and list(metrics) == ["auc", "auc_by_user", "hr@10", "ndcg@10"]
    assert all(one.low <= one.value <= one.high for one in metrics.values())
    assert metrics["auc_by_user"].value > 0.6  # popularity alone is worth something among items drawn evenly
    assert ranking_metrics(task, baseline_method(name), 0)[0] == metrics


def test_perfect_and_blind_rankers_score_as_they_should(data: TaskData, monkeypatch: pytest.MonkeyPatch) -> None:
    task = next_item_task(replace(LAST, split="time", test_cut=WEEK.test_cut, active_days=90, **CUTS), data)
    known = task.test.item != UNKNOWN

    class Told:
        items = task.items

        def scores(self, users: pa.Table, as_of: np.ndarray) -> np.ndarray:
            row = {user: n for n, user in enumerate(task.test.rows.ids)}
            found = np.zeros((users.num_rows, len(task.items)), np.float32)
            for at, user in enumerate(users["user_id"].to_pylist()):
                item = task.test.item[row[user]]
                found[at, item] = item != UNKNOWN
            return found

    monkeypatch.setattr(Method, "ranker", lambda *_: Told())
    metrics, _ = ranking_metrics(task, baseline_method("popularity"), 0)
    assert metrics["hr@10"].value == metrics["ndcg@10"].value == pytest.approx(known.mean())


def test_too_few_are_said(data: TaskData) -> None:
    with pytest.raises(InvalidInput, match=r"first: \d users in training have an item to be ranked, it needs 20"):
        first_hours_task(replace(FIRST, hours=1.0), data)
