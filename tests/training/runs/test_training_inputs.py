"""Identity of training inputs: their users by the snapshot, their items by the newest row."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import silent
from portrait.training.evaluation.suites.clue.suite import ComparisonPlan, _require_same
from portrait.training.evaluation.suites.cost.stores import VectorStore
from portrait.training.evaluation.suites.cost.suite import CostPlan as CostPlan
from portrait.training.evaluation.suites.cost.suite import VectorReader, _Suite
from portrait.training.evaluation.suites.gur import suite as gur
from portrait.training.evaluation.tasks.evaluate import build
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.evaluation.tasks.task_files import load_task
from portrait.training.runs.training_inputs import inputs_of
from portrait.training.settings import TrainingSettings

if TYPE_CHECKING:
    from portrait.infra.portrait import Portrait


def no_reader(store: VectorStore) -> VectorReader:
    raise AssertionError(store)


def with_another_text(portrait: "Portrait", file: Path) -> None:
    """The instance after an item was renamed."""
    from portrait.infra.jobs.versions import take_in

    file.write_text("item_id,service,text\nmusic-0,music,lullaby of another name\n")
    take_in(portrait, None, file, None)


def test_new_texts_of_items_are_other_inputs(registered: "Portrait", tmp_path: Path) -> None:
    before = inputs_of(registered.repo, cut_snapshot(registered.log))
    _require_same(tmp_path, before, ComparisonPlan(("shop",)))
    with_another_text(registered, tmp_path / "items.csv")
    after = inputs_of(registered.repo, cut_snapshot(registered.log))
    assert after.snapshot == before.snapshot and after.items_position == before.items_position + 1
    with pytest.raises(InvalidInput, match=r"items_position was \d+, is \d+\): choose another --name"):
        _require_same(tmp_path, after, ComparisonPlan(("shop",)))


def test_new_texts_of_items_are_measured_anew(
    registered: "Portrait", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the suite `cost`, whose lines are found by a stamp, and by `gur`, whose encoders are found by a name."""
    version = registered.registry.versions.get("autoencoder-1")
    names: list[str] = []
    monkeypatch.setattr(gur, "train_once", lambda folder, name, *_: names.append(name))
    monkeypatch.setattr(gur.NewItems, "bring", lambda *_: None)

    def stamp() -> str:
        settings: TrainingSettings = registered.settings
        built = build(load_task("country_near"), TaskData(registered.repo))
        gur._encoder(registered.repo, version, gur.WHOLE, built, settings, tmp_path, silent)
        cost = _Suite(registered.repo, CostPlan(None, (8,)), settings, tmp_path, no_reader, silent)
        return cost._kept._stamp

    first = stamp()
    assert stamp() == first and names[0] == names[1]
    with_another_text(registered, tmp_path / "items.csv")
    assert stamp() != first and names[2] != names[1]
