"""The prepared data of a study: made once, and when they are made again."""

from dataclasses import replace
from pathlib import Path

import pytest

from portrait.training.clue.prepare import FILES, PreparedSequences
from portrait.training.scaling.folder import StudyFolder
from tests.training.example import inputs, population
from tests.training.scaling.prepared import CONFIG, USERS


@pytest.mark.parametrize("missing", FILES)
def test_what_an_older_portrait_prepared_is_made_again(tmp_path: Path, missing: str) -> None:
    study = StudyFolder(tmp_path, "mine")
    study.path.mkdir(parents=True)
    (study.path / "prepared-16").mkdir()  # of the same length, and with all files but one
    for name in FILES:
        if name != missing:
            (study.path / "prepared-16" / name).write_text("of another version")
    assert study.prepared() is None
    made = study.prepare(inputs(population(USERS)), CONFIG, lambda *_, **__: None)
    assert study.prepared(16) == made == study.path / "prepared-16" and len(PreparedSequences(made).tokens)


def test_longer_sequences_take_the_place_of_shorter_ones(tmp_path: Path) -> None:
    study = StudyFolder(tmp_path, "mine")
    study.path.mkdir(parents=True)
    population_inputs, silent = inputs(population(USERS)), lambda *_, **__: None
    study.prepare(population_inputs, CONFIG, silent)
    assert study.prepared(32) is None
    longer = study.prepare(population_inputs, replace(CONFIG, sequence_length=32), silent)
    assert study.prepared(16) == study.prepared(32) == longer
    assert [one.name for one in study.path.iterdir()] == ["prepared-32"]
