"""Steps a second of Ray Train beside a plain PyTorch loop over the same prepared rows, with as many threads."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from benchmarks.instance import Instance
from benchmarks.rounds import Measurement, Ratio, Section, alternate, ratio
from benchmarks.threads import torch_threads
from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.infra.jobs.versions import training_inputs
from portrait.registry.progress import silent
from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.encoding import families
from portrait.training.runs.fitting import fit_weights
from portrait.training.runs.session import METRICS, MetricLog
from portrait.training.runs.training_loop import Trainee

AIM = 0.9
FAMILY = "autoencoder"
EPOCHS = 6  # the first is warm-up
CONFIG = AutoencoderConfig(epochs=EPOCHS, patience=EPOCHS)
PLAIN, TWIN = "plain PyTorch loop", "portrait.training.runs.training_loop in this process"
RAY, RAY_WHOLE = "Ray Train, 1 worker", "Ray Train, 1 worker, with reports and checkpoints"


@dataclass(frozen=True)
class Run:
    """Steps a second of one fit."""

    stepping: float  # in epochs alone
    whole: float  # with what happens between epochs
    start_up: float  # seconds to the end of the first epoch


def measure(instance: Instance, rounds: int) -> Section:
    """Step rates; an epoch ends with the held-out loss in all of them."""
    ensure_ray(instance.settings)
    with TemporaryDirectory(dir=instance.settings.home) as name, torch_threads(instance.settings.worker_cpus):
        prepared = Path(name) / "prepared"
        prepared.mkdir()
        inputs = training_inputs(instance.portrait, instance.snapshot)
        families.get(FAMILY).prepare(inputs, CONFIG, prepared, silent)
        contenders = {
            PLAIN: partial(_plain, prepared),
            TWIN: partial(_fitted, instance, prepared, 0),
            RAY: partial(_fitted, instance, prepared, 1),
        }
        contenders[PLAIN]()
        runs = alternate(contenders, rounds)
    measured = {name: _measurement(name, [run.stepping for run in each]) for name, each in runs.items()}
    measured[RAY_WHOLE] = _measurement(RAY_WHOLE, [run.whole for run in runs[RAY]])
    measured["start"] = Measurement("Ray Train, start-up", "s", tuple(run.start_up for run in runs[RAY]))
    return Section("training", list(measured.values()), list(_ratios(measured)))


def _trainee(prepared: Path) -> Trainee:
    return families.get(FAMILY).trainee(prepared, CONFIG, torch.device("cpu"))


def _plain(prepared: Path) -> Run:
    """The loop that one would write by hand."""
    trainee, started = _trainee(prepared), time.perf_counter()
    ends = []
    for epoch in range(EPOCHS):
        torch.manual_seed(epoch)
        trainee.model.train()
        for batch in trainee.batches(epoch, 0, 1):
            trainee.optimiser.zero_grad()
            trainee.backward(batch)
            nn.utils.clip_grad_norm_(trainee.model.parameters(), 1.0)
            trainee.optimiser.step()
        trainee.held_out_loss()
        ends.append(time.perf_counter())
    rate = trainee.steps * (EPOCHS - 1) / (ends[-1] - ends[0])
    return Run(rate, rate, ends[0] - started)


def _fitted(instance: Instance, prepared: Path, workers: int) -> Run:
    """`portrait.training.runs.fitting`, its epochs as its own log tells them."""
    with TemporaryDirectory(dir=prepared.parent) as name:
        folder, started = Path(name), time.time()
        (folder / "prepared").symlink_to(prepared)
        settings = instance.settings.model_copy(update={"num_workers": workers})
        fit_weights(FAMILY, asdict(CONFIG), folder, settings)
        epochs = MetricLog(folder / METRICS).epochs()
    steps = _trainee(prepared).steps * (EPOCHS - 1)
    stepping = sum(epoch["seconds"] for epoch in epochs[1:])
    return Run(steps / stepping, steps / (epochs[-1]["time"] - epochs[0]["time"]), epochs[0]["time"] - started)


def _measurement(name: str, rates: list[float]) -> Measurement:
    return Measurement(name, "steps/s", tuple(rates))


def _ratios(by_name: dict[str, Measurement]) -> Iterator[Ratio]:
    plain = by_name[PLAIN]
    yield ratio("Ray Train / plain loop", by_name[RAY], plain, AIM)
    yield ratio("Ray Train with reports and checkpoints / plain loop", by_name[RAY_WHOLE], plain)
    yield ratio("portrait.training.runs.training_loop in this process / plain loop", by_name[TWIN], plain)
