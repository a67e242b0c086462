"""Models of comparisons: a note leads to each, whatever its name and wherever a run was killed."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from portrait.registry.progress import silent
from portrait.training.runs import trained_once as module
from portrait.training.settings import TrainingSettings
from tests.feature_repo.log.test_durable_files import killed_amid_writing
from tests.training.example import inputs, population


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The artifacts that were trained; nothing really is."""
    made: list[str] = []

    def train(*_: object) -> SimpleNamespace:
        made.append(f"artifacts/clue-{len(made)}")
        return SimpleNamespace(artifact=made[-1], metrics={})

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "load_encoder", lambda path: path)
    return made


def encoder(folder: Path, name: str) -> object:
    return module.train_once(folder, name, "clue", (), inputs(population(3)), TrainingSettings(), silent)


def test_what_is_noted_is_not_trained_again(tmp_path: Path, trainings: list[str]) -> None:
    assert encoder(tmp_path, "a-0") == encoder(tmp_path, "a-0") == tmp_path / "artifacts/clue-0"
    assert encoder(tmp_path, "a-1") == tmp_path / "artifacts/clue-1"
    assert len(trainings) == 2


def test_killed_while_the_note_was_written_the_next_run_goes_on(tmp_path: Path, trainings: list[str]) -> None:
    with killed_amid_writing():
        encoder(tmp_path, "a-0")
    assert encoder(tmp_path, "a-0") == tmp_path / "artifacts/clue-1"


def test_services_may_be_called_anything(tmp_path: Path, trainings: list[str]) -> None:
    for name in ("unseen-shop/books-0", "unseen-../shop-0", "unseen-shop%2Fbooks-0"):
        assert encoder(tmp_path, name) == encoder(tmp_path, name)
    assert len(trainings) == len(list(tmp_path.glob("*.json"))) == 3
