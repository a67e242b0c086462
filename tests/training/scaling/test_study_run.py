"""A study on an instance: its first snapshot and config, and how it goes on with them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from portrait.infra.jobs.versions import take_in
from portrait.infra.portrait import Portrait
from portrait.registry.errors import Conflict, InvalidInput
from portrait.registry.progress import silent
from portrait.training.scaling.grid import Grid
from portrait.training.scaling.study_run import StudyOutcome, StudyRequest, study_scaling
from tests.instances import copy_of

EVENT = "user_id,item_id,event_time\nu000001,i1,2026-01-01T00:00:00Z\n"
SET = ("dimension=8", "vocabulary=300")
GRID = Grid(("pico",), (100,), (8,), (16,), steps=(1, 2))


@pytest.fixture
def portrait(registered_home: Path, tmp_path: Path) -> Portrait:
    return copy_of(registered_home, tmp_path / "home")


def study(portrait: Portrait, grid: Grid = GRID, overrides: tuple[str, ...] = SET) -> StudyOutcome:
    return study_scaling(portrait.repo, portrait.settings, StudyRequest("mine", grid, overrides=overrides), silent)


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


def test_a_study_grows_while_events_come_in(portrait: Portrait, tmp_path: Path) -> None:
    study(portrait)
    (tmp_path / "events.csv").write_text(EVENT)
    taken = take_in(portrait, tmp_path / "events.csv", None, None).events
    assert taken and taken.accepted == 1
    before = begun(portrait).read_text()
    longer = study(portrait, replace(GRID, sequence_lengths=(16,)))
    assert (longer.trained, len(longer.study.runs)) == (2, 4) and begun(portrait).read_text() == before
    for file in (portrait.settings.home / "snapshots").glob("*.json"):  # gone: what is cut now is another
        file.unlink()
    with pytest.raises(Conflict, match="losses would not compare, choose another --name"):
        study(portrait, replace(GRID, sequence_lengths=(32,)))


def test_what_is_prepared_of_other_items_is_no_part_of_a_study(portrait: Portrait, tmp_path: Path) -> None:
    study(portrait)
    (tmp_path / "items.csv").write_text("item_id,text\nnew,a thing that came later\n")
    assert take_in(portrait, None, tmp_path / "items.csv", None).items
    assert study(portrait, replace(GRID, steps=(3,))).trained == 1  # by the items that were prepared
    longer = replace(GRID, sequence_lengths=(16,))
    with pytest.raises(Conflict, match="items or their texts have come in since study mine was begun"):
        study(portrait, longer)
    document = json.loads(begun(portrait).read_text())
    del document["items"]  # begun by an older Portrait
    begun(portrait).write_text(json.dumps(document))
    assert study(portrait, longer).trained == 2
