"""A task measured end to end: lines beside one another, kept, registered once, and refused where they would lie."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.evaluation.tasks.evaluate import TaskEvaluation, evaluate
from portrait.training.evaluation.tasks.kinds import (
    ChurnTask,
    CrossServiceTask,
    LabelTask,
    NeighboursTask,
    NextItemTask,
    Task,
)
from tests.instances import TINY

if TYPE_CHECKING:
    from portrait.infra.portrait import Portrait

TASTE = LabelTask(name="taste", kind="label", labels="generated", column="taste", split="users")
NEAR = NeighboursTask(name="near", kind="neighbours", labels="generated", column="taste", k=20)
CHURN = ChurnTask(
    name="leaves",
    kind="churn",
    active_days=90,
    horizon_days=60,
    train_cuts=(datetime(2024, 7, 1, tzinfo=UTC), datetime(2024, 8, 1, tzinfo=UTC)),
    test_cut=datetime(2024, 10, 15, tzinfo=UTC),
)


def measured(
    instance: "Portrait", task: Task, *baselines: str, version: str | None = "autoencoder-1"
) -> TaskEvaluation:
    known = instance.registry.versions.get(version) if version else None
    return evaluate(instance.repo, known, task, baselines, instance.settings)


def values(found: TaskEvaluation, metric: str) -> dict[str, float]:
    return {line.method: line.value for line in found.lines if line.metric == metric}


def test_a_version_stands_beside_baselines_and_is_registered_once(instance: "Portrait") -> None:
    found = measured(instance, TASTE, "tfidf", "recency")
    assert list(values(found, "accuracy")) == ["autoencoder-1", "tfidf", "recency"]
    assert all(line.low <= line.value <= line.high and line.rows > 40 for line in found.lines)
    taste = values(found, "accuracy")
    assert taste["tfidf"] > 0.4 > 0.25 > taste["recency"]  # one of eight by chance
    leads = {line.method: found.ahead(line) for line in found.lines if line.metric == "accuracy"}
    assert leads.pop("autoencoder-1") is None
    for name, lead in leads.items():
        assert lead is not None and lead.value == pytest.approx(taste["autoencoder-1"] - taste[name])
        assert lead.low < lead.value < lead.high and len(lead.resamples) == 1000
    again = measured(instance, TASTE, "recency")
    assert (
        again.lines == [line for line in found.lines if line.method != "tfidf"] and again.data_stamp == found.data_stamp
    )
    recorded = [one for one in instance.registry.versions.evaluations("autoencoder-1") if one.task == "taste"]
    assert {(one.metric, one.value) for one in recorded} == {
        (line.metric, line.value) for line in found.lines if line.fingerprint
    }
    assert len(recorded) == len({one.metric for one in recorded})
    assert {(one.data_stamp, one.as_of) for one in recorded} == {(found.data_stamp, found.as_of)}


def test_a_line_that_was_cut_short_is_measured_again(instance: "Portrait") -> None:
    task = replace(NEAR, name="short")
    found = measured(instance, task, "svd", "pmf", version=None)
    log = found.folder / "lines.jsonl"
    whole = log.read_text()
    log.write_text(whole[:-20])
    again = measured(instance, task, "svd", "pmf", version=None)
    assert values(again, "ndcg@20") == values(found, "ndcg@20")
    assert again.lines[0] == found.lines[0] and len(log.read_text().splitlines()) == 2


def test_another_reading_of_a_task_is_another_stamp(instance: "Portrait") -> None:
    stamps = {measured(instance, task, "svd", version=None).data_stamp for task in (NEAR, replace(NEAR, k=10))}
    assert len(stamps) == 2
    described = replace(NEAR, description="the same")
    assert measured(instance, described, "svd", version=None).data_stamp in stamps


def test_neighbours_are_of_a_taste(instance: "Portrait") -> None:
    found = values(measured(instance, NEAR, "mean-items", "svd"), "ndcg@20")
    assert found["mean-items"] > 0.35 and found["svd"] > 0.3 and found["autoencoder-1"] > 0.15  # 1 of 8 by chance


def test_a_version_that_has_seen_the_answers_is_refused_and_an_earlier_one_measured(instance: "Portrait") -> None:
    from portrait.infra.jobs.versions import train_version

    with pytest.raises(
        InvalidInput,
        match=r"autoencoder-1 was trained on events up to 2024-12-31 .*, but the answers of leaves begin at 2024-10-15 "
        r"00:00: run `portrait train autoencoder --as-of 2024-08-01T00:00:00`",  # what baselines are fitted on
    ):
        measured(instance, CHURN)
    earlier = train_version(instance, "autoencoder", as_of=CHURN.test_cut, overrides=TINY)
    found = measured(instance, CHURN, "rfm", "recency", version=earlier.id)
    assert values(found, "auc")["rfm"] > 0.6 and values(found, "auc")[earlier.id] > 0.5
    assert found.as_of == CHURN.test_cut


def test_versions_beside_one_another_bear_the_same_stamp_and_the_first_is_compared(instance: "Portrait") -> None:
    from portrait.infra.jobs.versions import train_version

    one, two = (
        train_version(instance, "autoencoder", as_of=CHURN.train_cuts[-1], overrides=[*TINY, f"seed={seed}"])
        for seed in (0, 1)
    )
    known = [instance.registry.versions.get(made.id) for made in (two, one)]
    found = evaluate(instance.repo, known[0], CHURN, ["recency"], instance.settings, beside=known[1:])
    assert list(values(found, "auc")) == [two.id, one.id, "recency"]
    leads = [found.ahead(line) for line in found.lines if line.metric == "auc"]
    assert leads[0] is None and None not in leads[1:]
    stamps = [
        {row.data_stamp for row in instance.registry.versions.evaluations(made.id) if row.task == CHURN.name}
        for made in (one, two)
    ]
    assert stamps == [{found.data_stamp}] * 2


def test_a_field_that_is_asked_for_must_have_been_excluded(instance: "Portrait") -> None:
    from portrait.infra.jobs.versions import train_version

    country = LabelTask(name="country", kind="label", profile="country", split="users", metric="accuracy")
    with pytest.raises(
        InvalidInput,
        match=r"autoencoder-1 was trained with country, which country asks for: run `portrait train autoencoder "
        r"--exclude country`",
    ):
        measured(instance, country)
    blind = train_version(instance, "autoencoder", exclude=["country"], overrides=TINY)
    found = measured(instance, country, "random-encoder", version=blind.id)
    assert found.lines[0].metric == "accuracy"  # the one that the task names
    # Two in five live where their taste does; a method that had seen the field would know it.
    assert all(value < 0.5 for value in values(found, "accuracy").values())


def test_a_last_item_that_the_version_has_seen_is_no_test(instance: "Portrait") -> None:
    task = NextItemTask(name="last", kind="next_item", split="leave_one_out")
    with pytest.raises(InvalidInput, match='With clocks that differ between users, write split = "time"'):
        measured(instance, task)


def test_a_recipe_is_trained_again_without_the_users_who_are_tested(instance: "Portrait") -> None:
    task = CrossServiceTask(name="shop", kind="cross_service", target="shop")
    found = measured(instance, task, "popularity")
    assert set(values(found, "hr@10")) == {"autoencoder-1", "popularity"}
    (made,) = (found.folder / "artifacts").glob("autoencoder-*")
    assert measured(instance, task).lines == found.lines[:2] and list((found.folder / "artifacts").glob("auto*")) == [
        made
    ]
