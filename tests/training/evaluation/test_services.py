"""The whole comparison, small: every line, resumable, and a report that says what can be seen."""

from dataclasses import replace
from pathlib import Path

import pytest

from feature_repo.progress import silent
from tests.training.example import inputs, population
from training.clue.objective import ObjectiveName
from training.evaluation.cross_service import Seen
from training.evaluation.services import MEAN_TEXT, POPULARITY, RANDOM, Line, Plan, compare
from training.evaluation.services_report import as_markdown, claims, means
from training.inputs import TrainingInputs
from training.settings import TrainingSettings

PLAN = Plan(
    ("shop",),
    (0,),
    ("size=nano", "epochs=1", "epoch_steps=20", "dimension=8", "batch_size=32", "vocabulary=400", "categories=4"),
)
METHODS = {POPULARITY, MEAN_TEXT, RANDOM, *ObjectiveName}


@pytest.fixture(scope="module")
def given() -> TrainingInputs:
    return inputs(population(600))


@pytest.fixture(scope="module")
def folder(given: TrainingInputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison."""
    made = tmp_path_factory.mktemp("studies") / "services"
    compare(given, PLAN, made, TrainingSettings(home=made, num_workers=0))
    return made


def lines_of(given: TrainingInputs, folder: Path, plan: Plan = PLAN) -> list[Line]:
    return compare(given, plan, folder, TrainingSettings(home=folder, num_workers=0), silent)


def test_every_method_is_measured_on_every_kind_of_vector(given: TrainingInputs, folder: Path) -> None:
    lines = lines_of(given, folder)
    assert {(line.method, line.seen) for line in lines} == {(m, s) for m in METHODS for s in Seen}
    assert len({line.users for line in lines}) == 1
    popular = {line.seen: (line.recall, line.ndcg) for line in lines if line.method == POPULARITY}
    assert len(set(popular.values())) == 1  # it looks at nobody


def test_planted_taste_is_found_in_other_services(given: TrainingInputs, folder: Path) -> None:
    """Tastes are planted across services, so even the plain mean of another service's texts beats popularity."""
    recall = {(line.method, line.seen): line.recall for line in lines_of(given, folder)}
    assert recall[MEAN_TEXT, Seen.OTHER] > recall[POPULARITY, Seen.OTHER] + 0.1
    assert recall[ObjectiveName.CROSS_SERVICE, Seen.OTHER] > recall[POPULARITY, Seen.OTHER] + 0.1


def test_what_is_measured_is_not_measured_again(given: TrainingInputs, folder: Path) -> None:
    log = folder / "lines.jsonl"
    whole = log.read_text()
    before, last = whole.splitlines(keepends=True)[:-1], whole.splitlines()[-1]
    log.write_text("".join(before) + last[: len(last) // 2])  # killed while writing
    trained = sorted(folder.glob("artifacts/*"))
    assert len(lines_of(given, folder)) == len(before) + 1
    assert log.read_text() == whole and sorted(folder.glob("artifacts/*")) == trained


def test_a_report_tells_means_and_orderings() -> None:
    line = Line("shop", Seen.OTHER, ObjectiveName.CROSS_SERVICE, 0, 200, 0.30, 0.2, 0.5, 0.4)
    lines = [
        replace(line, seed=seed, recall=0.30 + seed / 1000, method=method)
        if method == ObjectiveName.CROSS_SERVICE
        else replace(line, seed=seed, recall=0.20 + seed / 10, method=method)
        for seed in range(3)
        for method in (ObjectiveName.CROSS_SERVICE, ObjectiveName.SAME_SERVICE)
    ]
    found = means(lines, "recall")["shop", ObjectiveName.CROSS_SERVICE, Seen.OTHER]
    assert found.mean == pytest.approx(0.301) and found.spread == pytest.approx(0.001) and found.seeds == 3
    (claim,) = claims(lines)
    assert claim.gain == pytest.approx(0.301 / 0.3 - 1) and claim.verdict == "not told apart"
    clear = [replace(one, recall=one.recall - (one.method == ObjectiveName.SAME_SERVICE) * 0.2) for one in lines]
    assert claims(clear)[0].verdict == "holds"
    page = as_markdown(lines)
    assert "| cross_service |  | 0.3010 ± 0.0010 |  |" in page and "not told apart" in page
