"""The driver: every run has a row or a reason, here and through Ray."""

from pathlib import Path

import pytest

from portrait.training.scaling.driver import Failure, train_all
from portrait.training.scaling.runs import RunLog
from portrait.training.scaling.setting import Setting
from portrait.training.settings import TrainingSettings
from tests.training.scaling.prepared import CONFIG

GOOD = [Setting("pico", 100, 8, 16, steps, 0) for steps in (1, 2, 3)]
BAD = Setting("pico", 5000, 8, 16, 1, 0)


def train(prepared: Path, home: Path, workers: int) -> tuple[list[Failure], RunLog, list[tuple[str, int, int, str]]]:
    told: list[tuple[str, int, int, str]] = []
    log = RunLog(home / "runs.csv")
    failures = train_all(
        [GOOD[0], BAD, *GOOD[1:]],
        prepared,
        CONFIG,
        log,
        TrainingSettings(home=home, num_workers=workers),
        2,
        lambda step, done, total, note="": told.append((step, done, total, note)),
    )
    return failures, log, told


def check(failures: list[Failure], log: RunLog, told: list[tuple[str, int, int, str]]) -> None:
    [failure] = failures
    assert failure.name == BAD.name
    assert failure.reason.startswith(f"InvalidInput: run {BAD.name} wants 5,000 users, ")
    assert log.finished() == {setting.name for setting in GOOD}
    assert [(step, done, total) for step, done, total, _ in told] == [("training runs", n, 4) for n in range(5)]
    notes = {note for *_, note in told}
    assert f"{BAD.name} failed" in notes
    assert {f"{run.name}: loss {run.loss:.4f}" for run in log.read()} < notes


def test_a_failing_run_does_not_stop_the_others(prepared_folder: Path, tmp_path: Path) -> None:
    check(*train(prepared_folder, tmp_path, workers=0))


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ray_trains_the_same_runs(prepared_folder: Path, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    check(*train(prepared_folder, here, workers=0))
    check(*train(prepared_folder, there, workers=1))
    losses = [{run.name: run.loss for run in RunLog(home / "runs.csv").read()} for home in (here, there)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
