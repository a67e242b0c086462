"""The built-in tasks on the real data sets: their populations, and the floors that the data's README states."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.infra.jobs.versions import import_data_set
from portrait.infra.portrait import Portrait
from portrait.training.evaluation.tasks.classes import ClassTask
from portrait.training.evaluation.tasks.evaluate import build, evaluate
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.evaluation.tasks.task_files import load_task
from tests.instances import embedded


@pytest.fixture(scope="module")
def retail(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Portrait]:
    """Online Retail II in a home."""
    home = tmp_path_factory.mktemp("retail") / "home"
    with Portrait.prepare(embedded(home)) as portrait:
        import_data_set(portrait, "online-retail", test_data / "online_retail" / "transactions.parquet")
        yield portrait
    shutil.rmtree(home)


@pytest.mark.slow
def test_churn_of_the_retail_set(retail: Portrait) -> None:
    task = load_task("online_retail_churn")
    built = build(task, TaskData(retail.repo))
    assert isinstance(built, ClassTask)
    (fold,) = built.folds
    assert (len(fold.train), len(fold.test)) == (2_639, 2_772)
    shares = [part.labels.count("churned") / len(part) for part in (fold.train, fold.test)]
    assert [round(share, 2) for share in shares] == [0.51, 0.38]
    found = evaluate(retail.repo, None, task, ["recency", "rfm"], retail.settings)
    auc = {line.method: line.value for line in found.lines if line.metric == "auc"}
    assert auc["recency"] == pytest.approx(0.663, abs=0.005) and auc["rfm"] == pytest.approx(0.75, abs=0.01)


@pytest.mark.slow
def test_item_knn_of_the_leave_one_out_files(test_data: Path, tmp_path: Path) -> None:
    with Portrait.prepare(embedded(tmp_path / "home")) as portrait:
        import_data_set(portrait, "sequences", test_data / "leave_one_out" / "Beauty.txt.gz")
        found = evaluate(portrait.repo, None, load_task("sequences_next"), ["item-knn"], portrait.settings)
    reached = {line.metric: line.value for line in found.lines}
    assert {line.rows for line in found.lines} == {22_363}  # every user, also those whose last item is new to all
    assert reached["hr@10"] > 0.065 and reached["ndcg@10"] > 0.039
