"""The report: whole, the same bytes for the same runs, and honest when there is nothing to report."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.report import write_report
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting
from portrait.training.scaling.study import Study, analyse
from tests.training.scaling.synthetic import COST, SIZES, finished, law, one, study

LARGER = finished(Setting("64m", 10_000, 32, 256, 9_537, 0), law(3e16), downstream=0.44)
COMMANDS = ["portrait study scaling --sizes 2m,7m,20m,64m"]


def analysed(runs: list[Run]) -> Study:
    return analyse(runs, SIZES, COST, budgets=(1e18, 5e16), held_out=[LARGER.name], n=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "scaling"
    write_report(analysed([*study(), LARGER]), path, COMMANDS)
    return path


def test_the_page_has_the_law_the_checks_and_the_way_ahead(folder: Path) -> None:
    page = (folder / "report.md").read_text()
    for title in ("Loss over compute", "Did the law foretell", "What to train next", "at equal compute", "All runs"):
        assert title in page
    assert re.search(r"= 1\.\d{3} \+ \d\.\d\d\\times10\^\{\d\}\\;C\^\{-0\.\d{4}\}\$\$", page)
    assert "| 1.00e18 | 64m |" in page and "2.0 (too far)" in page and "Do not rely on it" in page
    assert re.search(rf"\| {LARGER.name} \| 3.00e16 \| 2\.\d+ \| 2\.\d+ to 2\.\d+ \| {LARGER.loss:.3f} \|.*yes", page)
    assert "They move together" in page and COMMANDS[0] in page
    assert str(folder) not in page


def test_the_pictures_are_pictures_that_the_page_shows(folder: Path) -> None:
    shown = re.findall(r"\]\((.*?\.png)\)", (folder / "report.md").read_text())
    assert shown == ["loss-compute.png", "batch-compute.png", "downstream.png"]
    for name in shown:
        pixels = matplotlib.image.imread(folder / name)
        assert pixels.shape[:2] == (600, 900) and pixels[..., :3].std() > 0.05
    assert sorted(path.name for path in folder.iterdir()) == sorted([*shown, "numbers.json", "report.md"])


def test_the_numbers_are_those_of_the_study(folder: Path) -> None:
    numbers, found = json.loads((folder / "numbers.json").read_text()), analysed([*study(), LARGER])
    assert found.law
    assert numbers["law"]["exponent"] == pytest.approx(found.law.exponent, rel=1e-5)
    assert len(numbers["runs"]) == 56 and numbers["held_out"][0]["name"] == LARGER.name
    assert [forecast["outside"] for forecast in numbers["forecasts"]] == [False, True]
    assert numbers["checks"][0]["inside"] is True


def test_the_same_runs_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_report(analysed([LARGER, *study()[::-1]]), tmp_path, COMMANDS)
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_other_seeds_of_a_held_out_run_are_held_out_too() -> None:
    found = analysed([*study(), LARGER, finished(replace(LARGER.setting, seed=1), law(3e16))])
    assert [check.name for check in found.checks] == [LARGER.name, LARGER.name[:-1] + "1"]
    assert found.law and found.law.most < 2e16
    with pytest.raises(InvalidInput, match="no run 'huge' to hold out; the log has 56 others"):
        analyse(study(), SIZES, COST, held_out=["huge"])


def test_without_a_law_the_page_says_why(tmp_path: Path) -> None:
    runs = [one(1e13, 3.0), one(1e15, 3.1), one(1e16, math.nan)]
    page = write_report(analyse(runs, SIZES, COST, budgets=[1e17]), tmp_path).read_text()
    assert "There is no law: 1 of 3 configurations are on the frontier" in page
    assert "diverged" in page and "no correlation" in page and "What to train next" not in page
    assert json.loads((tmp_path / "numbers.json").read_text())["law"] is None
    assert (tmp_path / "loss-compute.png").stat().st_size > 5_000


def test_warnings_stand_beside_the_law(tmp_path: Path) -> None:
    page = write_report(analyse([one(1e13, 4.0), one(3e13, 3.5)], SIZES, COST, n=20), tmp_path).read_text()
    assert "**What speaks against relying on it:**" in page
    assert "- The frontier covers 0.48 decades of compute" in page
