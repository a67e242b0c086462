"""`portrait evaluate --suite clue` as a command: a page with every method, and errors for people."""

import shutil
from pathlib import Path

import pytest

from tests.infra.commands import Commands

FREE = {"PORTRAIT_NUM_WORKERS": "0"}
QUICK = [
    word
    for text in ("size=nano", "epochs=1", "epoch_steps=3", "dimension=8", "batch_size=32", "vocabulary=400")
    for word in ("--set", text)
]


@pytest.fixture
def here(registered_home: Path, tmp_path: Path) -> Commands:
    folder = tmp_path / "printed"
    folder.mkdir()
    shutil.copytree(registered_home, tmp_path / "home")
    return Commands(folder, tmp_path / "home")


@pytest.mark.slow
def test_a_service_is_ranked_by_every_method(here: Commands) -> None:
    command = ("evaluate", "--suite", "clue", "--target", "music", "--seeds", "1", *QUICK)
    done = here(*command, **FREE)
    assert done.code == 0, done.err
    page = (here.home / "studies" / "services" / "report.md").read_text()
    for row in ("popularity", "mean item text", "random weights", "cross_service", "same_service", "category"):
        assert f"| {row} |" in page
    assert "### Orderings of the paper" in page and "nDCG@10 of 101" in page and "report: " in done.out
    again = here(*command, "--json", **FREE).json
    assert len(again["lines"]) == 6 * 3 and {line["target"] for line in again["lines"]} == {"music"}
    assert {one["said"].split(" (")[0] for one in again["orderings"]} >= {"both beat the own history"}
    assert (here.home / "studies" / "services" / "gains.png").exists()
    assert not list((here.home / "artifacts").glob("clue-*"))  # what is compared is not registered


def test_a_service_that_nobody_has_is_said(here: Commands) -> None:
    done = here("evaluate", "--suite", "clue", "--target", "bookz", **FREE)
    assert done.code != 0 and "nobody has events in 'bookz'; the services are: " in done.error


def test_a_task_of_ones_own_is_measured_beside_baselines(here: Commands, tmp_path: Path) -> None:
    task = tmp_path / "mine.toml"
    task.write_text('kind = "label"\nprofile = "plan"\nsplit = "users"\nmetric = "accuracy"\n')
    done = here("evaluate", "--task", task, "--baselines", "rfm,recency", **FREE)
    assert done.code == 0, done.err
    assert "mine, as of 2024-12-31" in done.out and "95% interval" in done.out and "rfm" in done.out
    found = here("evaluate", "--task", task, "--baselines", "rfm", "--json", **FREE).json
    assert {line["method"] for line in found["lines"]} == {"rfm"} and found["task"] == "mine"
    refused = here("evaluate", "autoencoder-1", "--task", task, **FREE)
    assert refused.code == 2 and "run `portrait train autoencoder --exclude plan`" in refused.error


def test_arguments_that_do_not_go_together_are_said(here: Commands, tmp_path: Path) -> None:
    for arguments, said in (
        ((), "give --task NAME_OR_FILE, --suite clue with --target SERVICE, --suite cost or --suite gur"),
        (("--task", "nothing"), "there is no task 'nothing': give a TOML file, or one of"),
        (("--suite", "clue"), "--suite clue needs --target SERVICE"),
        (("autoencoder-1", "--suite", "clue", "--target", "music"), "leave autoencoder-1 out"),
        (("--task", "generated_taste", "--baselines", "rfm"), "--baselines rfm: this task has no rfm"),
        (("--task", "generated_taste", "--baselines", "none"), "there is nothing to measure"),
        (("--task", "generated_taste", "--beside", "autoencoder-1"), "--beside autoencoder-1: name the version that"),
        (("autoencoder-1", "--task", "generated_taste", "--beside", "clue-7"), "clue-7"),
    ):
        done = here("evaluate", *arguments, **FREE)
        assert done.code in (1, 2) and said in done.error, done.err


GUR, COST, TASK = ("autoencoder-1", "--suite", "gur"), ("--suite", "cost"), ("--task", "generated_taste")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*GUR, "--set", "epochs=1"), "gur does not read --set: leave it out, it is for --suite clue and --suite cost"),
        ((*GUR, "--as-of", "2024-01-01"), "--suite gur does not read --as-of: leave it out, it is for --suite clue"),
        ((*GUR, "--beside", "clue-1"), "--suite gur does not read --beside: leave it out, it is for --task"),
        ((*GUR, "--target", "shop"), "--suite gur does not read --target"),
        ((*GUR, "--seeds", "3"), "--suite gur does not read --seeds"),  # the default, but somebody's wish
        ((*COST, "--no-clock"), "--suite cost does not read --clock/--no-clock: leave it out, it is for --suite clue"),
        ((*COST, "--as-of", "2024-01-01"), "--suite cost does not read --as-of"),
        ((*COST, "--name", "mine"), "--suite cost does not read --name"),
        ((*TASK, "--set", "epochs=1"), "--task does not read --set"),
        ((*TASK, "--target", "shop"), "--task does not read --target"),
        ((*TASK, "--as-of", "2024-01-01"), "--task does not read --as-of"),
        (("--suite", "clue", "--target", "shop", "--baselines", "rfm"), "--baselines: leave it out, it is for --task"),
        (("--suite", "clue", "--target", "shop", "--dimensions", "8"), "leave it out, it is for --suite cost"),
    ],
)
def test_an_option_that_is_not_read_is_refused(portrait: Commands, arguments: tuple[str, ...], said: str) -> None:
    done = portrait("evaluate", *arguments, **FREE)
    assert done.code == 2 and said in done.error
    assert not portrait.home.exists()  # nothing was begun
