"""`portrait study scaling` as a command: a reduced grid, killed, resumed, reported and asked for forecasts."""

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.training.scaling import study
from tests.infra.commands import Commands

pytestmark = pytest.mark.slow
GRID = ("--sizes", "pico,nano", "--users", "150", "--lengths", "8", "--batches", "16,32", "--steps", "2,8,30")
FREE = {"PORTRAIT_NUM_WORKERS": "0"}


@pytest.fixture(scope="module")
def studied(registered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A home with a study of twelve runs. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("studied")
    shutil.copytree(registered_home, folder / "home")
    commands = Commands(folder, folder / "home", few_draws)
    done = commands("study", "scaling", *GRID, "--budget", "1e10", "--budget", "1e15", **FREE)
    assert done.code == 0, done.err
    (folder / "printed").write_text(done.out)
    return commands


@pytest.fixture
def mine(studied: Commands, tmp_path: Path) -> Iterator[Commands]:
    """A copy of one's own."""
    folder = tmp_path / "printed"
    folder.mkdir()
    shutil.copytree(studied.home, tmp_path / "home")
    yield Commands(folder, tmp_path / "home", few_draws)


def few_draws() -> None:
    """Fit the law to 50 resamplings instead of 500: intervals are tested in tests/training/scaling/test_fit.py."""
    *_, seed = study.analyse.__defaults__ or ()
    study.analyse.__defaults__ = ((), (), 50, seed)


def rows(commands: Commands, name: str = "scaling") -> list[dict[str, str]]:
    path = commands.home / "studies" / name / "runs.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def test_a_grid_becomes_a_law_a_forecast_and_a_page(studied: Commands) -> None:
    printed = (studied.home.parent / "printed").read_text()
    for words in ("Loss = L_inf + a C^-b", "What to train next", "too far", "warning: ", "report with pictures: "):
        assert words in printed
    assert len(rows(studied)) == 12
    assert all(1 < float(row["loss"]) < 8 and 0 < float(row["downstream"]) < 1 for row in rows(studied))
    folder = studied.home / "studies" / "scaling"
    page = (folder / "report.md").read_text()
    assert "12 runs; " in page and "portrait study scaling --sizes pico,nano --users 150" in page
    pictures = [line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]
    assert "loss-compute.png" in pictures and "downstream.png" in pictures and "batch-steps.png" in pictures
    assert all((folder / picture).stat().st_size > 10_000 for picture in pictures)
    larger = [row for row in rows(studied) if row["steps"] == "30"]
    assert all(float(row["loss"]) < 5.5 for row in larger)  # 90 candidates: guessing is ln 90 = 4.5


def test_the_same_command_trains_nothing_again_and_more_seeds_only_what_is_missing(mine: Commands) -> None:
    before = rows(mine)
    again = mine("study", "scaling", *GRID, "--json", **FREE).json
    assert (again["trained"], again["finished_before"], again["failures"]) == (0, 12, [])
    more = mine("study", "scaling", *GRID[:-1], "2", "--seeds", "0,1", "--json", **FREE).json
    assert (more["trained"], more["finished_before"]) == (4, 4)
    page = (mine.home / "studies/scaling/report.md").read_text()
    assert page.count("\nportrait study scaling ") == 2 and "--seeds 0,1" in page and "16 runs; " in page
    assert rows(mine)[:12] == before and [row["seed"] for row in rows(mine)[12:]] == ["1"] * 4


def test_a_killed_study_goes_on(mine: Commands) -> None:
    grid = (*GRID[:-1], "5,6,7,300", "--name", "killed")
    process = mine.start("study", "scaling", *grid, **FREE)
    deadline = time.monotonic() + 120
    while len(rows(mine, "killed")) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.join()
    survived = rows(mine, "killed")
    assert 3 <= len(survived) < 16
    done = mine("study", "scaling", *grid[:-3], "5,6,7", "--name", "killed", "--json", **FREE)
    assert done.code == 0, done.err
    assert done.json["trained"] + done.json["finished_before"] == 12
    assert rows(mine, "killed")[: len(survived)] == survived and len(rows(mine, "killed")) >= 12


def test_reporting_trains_nothing_and_keeps_out_what_it_is_told(mine: Commands) -> None:
    before = rows(mine)
    dearest = max(before, key=lambda row: float(row["flops"]))["name"]
    done = mine("study", "scaling", "--report-only", "--hold-out", dearest, "--budget", "1e10", "--json", **FREE)
    assert done.code == 0, done.err
    [check] = done.json["checks"]
    assert check["name"] == dearest and len(done.json["runs"]) == 11 and rows(mine) == before
    [forecast] = done.json["forecasts"]
    setting = forecast["setting"]
    assert forecast["run"].startswith(f"{setting['size']}-u150-l8-b{setting['batch']}-t{setting['steps']}-")
    assert setting["size"] in {"pico", "nano", "micro"} and setting["steps"] > 1
    assert forecast["interval"]["low"] < forecast["loss"] < forecast["interval"]["high"]
    assert json.loads((mine.home / "studies/scaling/numbers.json").read_text())["checks"] == [check]


def test_what_is_prepared_may_be_deleted_but_not_follow_other_users(mine: Commands, tmp_path: Path) -> None:
    ask = ("study", "scaling", "--report-only", "--budget", "1e10", "--json")
    before = mine(*ask, **FREE).json["forecasts"]
    shutil.rmtree(mine.home / "studies/scaling/prepared-8")
    assert mine(*ask, **FREE).json["forecasts"] == before
    assert [path.name for path in (mine.home / "studies/scaling").glob("prepared*")] == ["prepared-8"]
    shutil.rmtree(mine.home / "studies/scaling/prepared-8")
    assert mine("forget", "u000001").code == 0
    refused = mine(*ask, **FREE)
    assert refused.code == 1 and "losses would not compare, choose another --name" in refused.err


def test_a_held_out_run_that_is_missing_is_trained(mine: Commands) -> None:
    name = "micro-u150-l8-b32-t20-s0"
    done = mine("study", "scaling", "--hold-out", name, "--json", **FREE).json
    assert (done["trained"], [check["name"] for check in done["checks"]]) == (1, [name])
    assert rows(mine)[-1]["name"] == name


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--sizes", "pico"), "the grid has no users: give --users"),
        ((*GRID[:-1], "0"), "--steps 0: '0' in steps is not a whole number from 1 on"),
        ((*GRID, "--budgets", "1e9"), "the grid wants either steps or budgets"),
        (("--sizes", "vast", *GRID[2:]), "there is no size 'vast'; the sizes are pico, nano"),
        ((*GRID[:3], "100000", *GRID[4:]), "wants 100,000 users: "),
        ((*GRID, "--set", "seed=1"), "--set seed=1: the grid sets it"),
        ((*GRID, "--set", "dimension=x"), "--set dimension=x"),
        (("--budget", "much"), "--budget much: 'much' is not a positive number"),
        (("--hold-out", "micro"), "'micro' is no name of a run"),
        (("--name", "../x", *GRID), "--name '../x': "),
        (("--grid", "nowhere.toml"), "nowhere.toml: cannot be read"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(studied: Commands, arguments: tuple[str, ...], complaint: str) -> None:
    done = studied("study", "scaling", *arguments, **FREE)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err.splitlines()[-1]


def test_what_the_present_state_forbids(studied: Commands) -> None:
    missing = studied("study", "scaling", "--name", "never", "--report-only", **FREE)
    assert missing.code == 1 and "there is no study 'never'" in missing.error
    other = studied("study", "scaling", *GRID, "--set", "dimension=8", **FREE)
    assert other.code == 1 and "begun with other values than --set asks for" in other.error
