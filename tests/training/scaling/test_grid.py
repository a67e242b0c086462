"""The grid: which runs it makes, in which order, from which texts, and what it says of wrong ones."""

from pathlib import Path

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.grid import Grid, read_grid, remaining
from portrait.training.scaling.runs import RunLog
from portrait.training.scaling.setting import Setting
from tests.training.scaling.synthetic import COST, finished

OPTIONS: dict[str, str | None] = {
    "sizes": "7m, 2m",
    "users": "1e4",
    "sequence_lengths": "32",
    "batches": "64,256,64",
    "steps": "100",
    "budgets": None,
}


def test_every_combination_once_and_the_cheapest_first() -> None:
    settings = read_grid(OPTIONS).settings(COST)
    assert [(s.size, s.batch) for s in settings] == [("2m", 64), ("7m", 64), ("2m", 256), ("7m", 256)]
    assert settings[0] == Setting("2m", 10_000, 32, 64, 100, 0)
    assert settings[0].name == "2m-u10000-l32-b64-t100-s0"


def test_a_budget_is_used_up_by_steps() -> None:
    settings = read_grid({**OPTIONS, "steps": None, "budgets": "1e14,3e14"}).settings(COST)
    assert len(settings) == 8
    spent = [s.steps * COST(s.size, s.sequence_length, s.batch) for s in settings]
    assert spent[:4] == pytest.approx([1e14] * 4, rel=0.005) and spent[4:] == pytest.approx([3e14] * 4, rel=0.005)
    with pytest.raises(InvalidInput, match=r"budget 1e\+09 FLOPs is less than one step of size 2m with batch 64"):
        Grid(("2m",), (10,), (32,), (64,), budgets=(1e9,)).settings(COST)


def test_a_file_gives_what_the_options_do_not(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('sizes = ["2m", "20m"]\nusers = 500\nsequence_lengths = [16]\nbatches = [8]\nbudgets = [1e13]\n')
    assert read_grid({"batches": "16"}, file) == Grid(("2m", "20m"), (500,), (16,), (16,), budgets=(1e13,))


def test_only_runs_that_the_log_lacks_remain(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "runs.csv")
    settings = read_grid(OPTIONS).settings(COST)
    log.append(finished(settings[1], 3.0))
    assert remaining(settings, log) == [settings[0], *settings[2:]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batches": "64,many"}, r"--batches 64,many: 'many' in batches is not a whole number from 1 on"),
        ({"sequence_lengths": "1.5"}, r"--sequence-lengths 1.5: '1.5' in sequence_lengths is not a whole number"),
        ({"sequence_lengths": "32,1"}, r"the grid has 1 among its sequence_lengths: give 2 or more"),
        ({"batches": "1,64"}, r"the grid has 1 among its batches: give 2 or more"),
        ({"users": "0"}, r"'0' in users"),
        ({"seeds": "-1"}, r"'-1' in seeds is not a whole number from 0 on"),
        ({"steps": None, "budgets": "1e14,inf"}, r"'inf' in budgets is not a positive number"),
        ({"colours": "red"}, r"there is no 'colours' in a grid; it has sizes, users"),
        ({"users": None}, r"the grid has no users: give --users"),
        ({"sizes": " , "}, r"the grid has no sizes"),
        ({"steps": None}, r"either steps or budgets, and has neither"),
        ({"budgets": "1e14"}, r"has steps 100 and budgets 1e\+14"),
    ],
)
def test_a_wrong_value_is_named(changed: dict[str, str | None], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_grid({**OPTIONS, **changed})


def test_an_unknown_size_and_a_bad_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no size '9m'; the sizes are 2m, 7m, 20m, 64m"):
        read_grid({**OPTIONS, "sizes": "9m"}).settings(COST)
    file = tmp_path / "grid.toml"
    with pytest.raises(InvalidInput, match=r"grid.toml: cannot be read"):
        read_grid({}, file)
    file.write_text("sizes = [")
    with pytest.raises(InvalidInput, match=r"grid.toml: not TOML"):
        read_grid({}, file)
    file.write_text("sizes = [7]")
    with pytest.raises(InvalidInput, match=r"grid.toml: 7 in sizes is not the name of a size"):
        read_grid({}, file)


def test_a_run_is_named_by_its_setting_and_found_by_its_name() -> None:
    setting = Setting("1.7m", 10_000, 32, 64, 500, 3)
    assert Setting.parse(setting.name) == setting
    for name in ("nano", "nano-u1-l2-b3-t4", "nano-u1-l2-b3-t4-s5 ", "nano-u1-l2-b3-t-s0"):
        with pytest.raises(InvalidInput, match="is no name of a run: write it as nano-u10000"):
            Setting.parse(name)
