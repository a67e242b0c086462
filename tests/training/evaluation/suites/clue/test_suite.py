"""The whole comparison, small: every line, resumable, and a report that says what can be seen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from portrait.registry.errors import InvalidInput
from portrait.registry.progress import silent
from portrait.training.clue.objective import ObjectiveName
from portrait.training.evaluation.cross_service import Seen
from portrait.training.evaluation.suites.clue.report import CROSS, SAME, as_markdown, claims, means, write_report
from portrait.training.evaluation.suites.clue.suite import (
    MEAN_TEXT,
    POPULARITY,
    RANDOM,
    UNSEEN,
    ComparisonPlan,
    RankLine,
    _require_same,
    compare,
)
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings
from tests.feature_repo.log.test_durable_files import killed_amid_writing
from tests.training.example import inputs, population

PLAN = ComparisonPlan(
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


def lines_of(given: TrainingInputs, folder: Path, plan: ComparisonPlan = PLAN) -> list[RankLine]:
    return compare(given, plan, folder, TrainingSettings(home=folder, num_workers=0), silent)


def test_every_method_is_measured_on_every_kind_of_vector(given: TrainingInputs, folder: Path) -> None:
    lines = lines_of(given, folder)
    assert {(line.method, line.seen) for line in lines} == {(m, s) for m in METHODS for s in Seen}
    assert len({len(line.ranks) for line in lines} | {len(line.ranks_sampled) for line in lines}) == 1
    assert len({line.ranks for line in lines if line.method == POPULARITY}) == 1  # it looks at nobody


def test_planted_taste_is_found_in_other_services(given: TrainingInputs, folder: Path) -> None:
    """Tastes are planted across services, so even the plain mean of another service's texts beats popularity."""
    recall = {(line.method, line.seen): line.values("recall").mean() for line in lines_of(given, folder)}
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


def test_a_service_that_training_never_saw_is_embedded_by_its_texts(
    given: TrainingInputs, folder: Path, tmp_path: Path
) -> None:
    """The planted taste is in the words, which the other services share."""
    plan = replace(PLAN, objectives=(), unseen=True, targets=("shop", "music"))
    overrides = tuple("epochs=6" if text == "epochs=1" else text for text in PLAN.overrides)
    lines = lines_of(given, tmp_path, replace(plan, overrides=overrides))
    unseen = {(line.target, line.seen): line.values("recall").mean() for line in lines if line.method == UNSEEN}
    popular = {line.target: line.values("recall").mean() for line in lines if line.method == POPULARITY}
    assert unseen.keys() == {(target, seen) for target in plan.targets for seen in Seen}
    assert all(unseen[target, Seen.OWN] > popular[target] + 0.1 for target in plan.targets)
    (artifact,) = {Path(json.loads(note.read_text())["artifact"]) for note in tmp_path.glob("unseen-shop-0.json")}
    keys = pq.read_table(tmp_path / artifact / "items.parquet").column(0).to_pylist()
    assert keys and not any(key.startswith("shop") for key in keys)


def some_lines(method: str, hits: list[list[int]]) -> list[RankLine]:
    """A line a seed; a user whose hit is 1 has rank 3, the others 50."""
    ranks = [tuple(3 if hit else 50 for hit in of_seed) for of_seed in hits]
    return [RankLine("shop", Seen.OTHER, method, seed, of, of) for seed, of in enumerate(ranks)]


def test_a_report_tells_means_and_orderings() -> None:
    """Users for whom both are right or wrong tell nothing, those who differ do, and so do seeds that disagree."""
    half, all_but = [[1] * 60 + [0] * 60] * 3, [[1] * 80 + [0] * 40, [1] * 82 + [0] * 38, [1] * 84 + [0] * 36]
    better, worse = some_lines(ObjectiveName.CROSS_SERVICE, all_but), some_lines(ObjectiveName.SAME_SERVICE, half)
    found = means(better, "recall")["shop", ObjectiveName.CROSS_SERVICE, Seen.OTHER]
    assert found.mean == pytest.approx(82 / 120) and found.spread == pytest.approx(2 / 120) and found.seeds == 3
    (claim,) = claims([*better, *worse])
    assert claim.gain.value == pytest.approx(82 / 60 - 1) and claim.verdict == "holds"
    assert claim.gain.value - claim.gain.low == pytest.approx(2 * claim.error / (60 / 120))
    assert claim.gain.paper == 0.15 and claim.gain.size == "does not hold"  # more than twice as much
    differences = np.mean(all_but, axis=0) - half[0]
    assert claim.error == pytest.approx(np.sqrt(differences.var(ddof=1) / 120 + (2 / 120) ** 2 / 3))
    assert claims([*some_lines(ObjectiveName.CROSS_SERVICE, half), *better[:0], *worse])[0].verdict == "not told apart"
    others = [[1] * 5 + [0] * 110 + [1] * 5] * 3  # fewer hits, and of other users
    wide = some_lines(ObjectiveName.CROSS_SERVICE, [[0] * 115 + [1] * 5] * 3)
    assert claims([*wide, *some_lines(ObjectiveName.SAME_SERVICE, others)])[0].verdict == "does not hold"
    page = as_markdown([*better, *worse])
    assert "| cross_service |  | 0.6833 ± 0.0167 |  |" in page and "by nDCG@10 of 101" in page
    assert "| +15.0% | holds | does not hold |" in page


def test_a_report_is_a_page_a_picture_and_numbers(tmp_path: Path) -> None:
    lines = [*some_lines(CROSS, [[1] * 80 + [0] * 40] * 3), *some_lines(SAME, [[1] * 60 + [0] * 60] * 3)]
    page = write_report(lines, tmp_path)
    assert page.read_text() == as_markdown(lines) and "![gains](gains.png)" in page.read_text()
    assert (tmp_path / "gains.png").stat().st_size > 5000
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert len(numbers["lines"]) == 6 and {one["metric"] for one in numbers["orderings"]} == {"recall", "ndcg_sampled"}
    assert numbers["orderings"][0]["gain"] == pytest.approx(1 / 3)
    assert "gains.png" not in as_markdown(lines[:3])  # one method has nothing to be better than


def test_a_gain_over_nothing_is_told_as_not_to_be_had(tmp_path: Path) -> None:
    """With few test users nobody's item need be among the first ten."""
    lines = [*some_lines(CROSS, [[1] * 3 + [0] * 17] * 3), *some_lines(SAME, [[0] * 20] * 3)]
    page = write_report(lines, tmp_path)
    assert "| 0.1500 ± 0.0000 | 0.0000 ± 0.0000 | - | +15.0% | not told apart |  |" in page.read_text()
    assert (tmp_path / "gains.png").stat().st_size > 5000
    text = (tmp_path / "numbers.json").read_text()
    (ordering, _) = json.loads(text)["orderings"]
    assert (ordering["gain"], ordering["gain_low"], ordering["size"]) == (None, None, "") and "NaN" not in text


def test_ndcg_is_of_the_rank() -> None:
    line = RankLine("shop", Seen.OWN, POPULARITY, 0, (0, 1, 10), (9, 10, 100))
    assert line.values("ndcg").tolist() == pytest.approx([1, 1 / np.log2(3), 0])
    assert line.values("recall_sampled").tolist() == [1, 0, 0]
    assert line.summary()["users"] == 3 and line.summary()["recall"] == pytest.approx(2 / 3)


def test_a_folder_holds_one_comparison(given: TrainingInputs, folder: Path, tmp_path: Path) -> None:
    """Lines of another config would pass for this one's."""
    before = (folder / "lines.jsonl").read_text()
    with pytest.raises(InvalidInput, match=r"holds another comparison \(overrides was .*: choose another --name"):
        lines_of(given, folder, replace(PLAN, overrides=(*PLAN.overrides[1:], "size=pico")))
    with pytest.raises(InvalidInput, match="clock was True, is False"):
        lines_of(given, folder, replace(PLAN, clock=False))
    assert (folder / "lines.jsonl").read_text() == before
    older = shutil.copytree(folder, tmp_path / "older")
    (older / "plan.json").unlink()  # as older folders are
    with pytest.raises(InvalidInput, match="snapshot was not recorded"):
        lines_of(given, older)


def test_killed_before_anything_is_measured_the_same_command_begins_again(
    given: TrainingInputs, tmp_path: Path
) -> None:
    with killed_amid_writing():
        _require_same(tmp_path, given, PLAN)
    _require_same(tmp_path, given, PLAN)
    assert json.loads((tmp_path / "plan.json").read_text())["snapshot"] == given.snapshot


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_methods_are_trained_and_measured_side_by_side(given: TrainingInputs, folder: Path, tmp_path: Path) -> None:
    """Through Ray the same lines, in the same order."""
    here = lines_of(given, folder)
    there = compare(given, PLAN, tmp_path, TrainingSettings(home=tmp_path, num_workers=1), silent)
    assert [line.key for line in there] == [line.key for line in here]
    assert len((tmp_path / "lines.jsonl").read_text().splitlines()) == len(here)
    for one, other in zip(here, there, strict=True):
        assert one.values("ndcg").mean() == pytest.approx(other.values("ndcg").mean(), abs=0.03)
    with pytest.raises(InvalidInput, match="nobody has events in 'bookz'"):
        compare(given, replace(PLAN, targets=("bookz",)), tmp_path, TrainingSettings(home=tmp_path, num_workers=1))
