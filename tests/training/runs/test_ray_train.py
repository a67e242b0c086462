"""Training by Ray Train: the same as in this process, also after a kill -9 of the worker or of the driver."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import TrainedModel, train
from portrait.training.settings import TrainingSettings
from tests.forks import FORKS
from tests.training.example import AS_OF_US, DESCENDING, QUICK, inputs, population, train_here

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning", "ignore::DeprecationWarning:ray", "ignore::FutureWarning:ray"
    ),
]
LONG = [*(o for o in QUICK["autoencoder"] if not o.startswith("epochs")), "epochs=12", "patience=12"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    settings = TrainingSettings(home=tmp_path_factory.mktemp("undisturbed"), num_workers=0)
    return train("autoencoder", LONG, inputs(population()), settings)


@pytest.fixture
def ray_settings(tmp_path: Path) -> TrainingSettings:
    return TrainingSettings(home=tmp_path / "home", num_workers=1)


def lines(home: Path) -> list[dict[str, Any]]:
    """The metric log of the only unfinished run."""
    found = list((home / "artifacts" / ".unfinished").glob("*/metrics.jsonl"))
    return [json.loads(line) for line in found[0].read_text().splitlines()] if found else []


def kill_after_epoch(home: Path, epoch: int, kill: Callable[[list[dict[str, Any]]], None]) -> threading.Thread:
    def watch() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            logged = lines(home)
            if any(line["event"] == "epoch" and line["epoch"] >= epoch for line in logged):
                return kill(logged)
            time.sleep(0.02)
        return None

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def kill_worker(logged: list[dict[str, Any]]) -> None:
    os.kill(next(line["pid"] for line in logged if line["event"] == "worker"), signal.SIGKILL)


def test_a_killed_worker_costs_no_bit(
    undisturbed: TrainedModel, ray_settings: TrainingSettings, ray_session: None
) -> None:
    killer = kill_after_epoch(ray_settings.home, 2, kill_worker)
    model = train("autoencoder", LONG, inputs(population()), ray_settings)
    killer.join()
    logged = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
    pids = {line["pid"] for line in logged if line["event"] == "worker"}
    assert len(pids) == 2  # there was a second worker
    second = [line["epoch"] for line in logged if line["event"] == "epoch" and line["pid"] == logged[-1]["pid"]]
    assert second[0] > 0  # which did not begin again
    assert model.fingerprint == undisturbed.fingerprint


def drive(settings: TrainingSettings) -> None:
    """Train with a Ray of one's own, in silence."""
    os.setsid()
    os.environ["RAY_ADDRESS"] = ""
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    train("autoencoder", LONG, inputs(population()), settings)


def test_a_killed_driver_costs_no_bit(
    undisturbed: TrainedModel, ray_settings: TrainingSettings, ray_session: None
) -> None:
    driver = FORKS.Process(target=drive, args=(ray_settings,))
    driver.start()
    killer = kill_after_epoch(ray_settings.home, 2, lambda _: driver.kill())
    driver.join(180)
    assert driver.exitcode == -signal.SIGKILL
    killer.join()
    (unfinished,) = (ray_settings.home / "artifacts" / ".unfinished").iterdir()
    model = train("autoencoder", LONG, inputs(population()), ray_settings)
    assert model.run == unfinished.name
    logged = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
    here = [line["epoch"] for line in logged if line["event"] == "epoch" and line["pid"] == logged[-1]["pid"]]
    assert 0 not in here  # went on, did not begin again; the orphaned worker may even have finished
    assert model.fingerprint == undisturbed.fingerprint


@pytest.mark.parametrize("family", DESCENDING)
def test_two_workers(ray_session: None, tmp_path: Path, family: str) -> None:
    settings = TrainingSettings(home=tmp_path / "home", num_workers=2)
    model = train_here(settings, inputs(population()), family=family)
    logged = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text().splitlines()]
    assert {line["rank"] for line in logged if line["event"] == "worker"} == {0, 1}
    losses = [line["loss"] for line in logged if line["event"] == "epoch"]
    assert losses[-1] < losses[0]
    assert np.isfinite(load_encoder(model.path, model.fingerprint).encode(population(), AS_OF_US)).all()
