"""A study on an instance: what it is begun with, and what it goes on with."""

import json
from pathlib import Path

import pytest

from feature_repo.progress import silent
from infra.portrait import Portrait
from infra.study import Outcome, Wanted, study_scaling
from registry.errors import InvalidInput
from tests.instances import copy_of
from training.scaling.grid import Grid

SET = ("dimension=8", "vocabulary=300")
GRID = Grid(("pico",), (100,), (8,), (16,), steps=(1, 2))


@pytest.fixture
def portrait(registered_home: Path, tmp_path: Path) -> Portrait:
    return copy_of(registered_home, tmp_path / "home")


def study(portrait: Portrait, grid: Grid = GRID, overrides: tuple[str, ...] = SET) -> Outcome:
    return study_scaling(portrait, Wanted("mine", grid, overrides=overrides), silent)


def begun(portrait: Portrait) -> Path:
    return portrait.settings.home / "studies" / "mine" / "study.json"


def test_what_is_refused_begins_no_study(portrait: Portrait) -> None:
    too_many = Grid(("pico",), (100_000,), (8,), (16,), steps=(1,))
    with pytest.raises(InvalidInput, match="wants 100,000 users"):
        study(portrait, too_many, (*SET, "learning_rate=0.5"))
    assert not begun(portrait).exists()
    assert study(portrait).trained == 2
    config = json.loads(begun(portrait).read_text())["config"]
    assert (config["learning_rate"], config["dimension"]) == (0.0, 8)
