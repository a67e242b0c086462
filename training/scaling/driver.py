"""Training the runs of a study: through Ray, or in this process. A run that fails does not stop the others."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from feature_repo.progress import Progress
from training.clue.config import ClueConfig
from training.clue.prepare import Prepared
from training.scaling.runs import Run, RunLog
from training.scaling.setting import Setting
from training.scaling.training import train_run
from training.settings import TrainingSettings

Outcome = tuple[Setting, Run | Exception]


@dataclass(frozen=True)
class Failure:
    """A run that has no row."""

    name: str
    reason: str  # one line


@dataclass(frozen=True)
class Task:
    """What a worker needs to train any run of a study."""

    prepared: Path
    config: ClueConfig
    threads: int
    gpu: bool

    def __call__(self, setting: Setting) -> Run:
        """Train it, with so many threads."""
        torch.set_num_threads(self.threads)
        device = torch.device("cuda" if self.gpu else "cpu")
        return train_run(Prepared(self.prepared), self.config, setting, device)


def train_all(
    wanted: Sequence[Setting],
    prepared: Path,
    config: ClueConfig,
    log: RunLog,
    settings: TrainingSettings,
    at_once: int | None,
    progress: Progress,
) -> list[Failure]:
    """Train these runs in their order, `at_once` at a time, and log each as it ends; those that failed are returned.

    `at_once` None: as many as there is room for, which on a Ray started here is one for each processor.
    """
    train = partial(Task, prepared, config)
    if settings.num_workers == 0:
        outcomes = _here(wanted, train(torch.get_num_threads(), False))
    else:
        outcomes = _by_ray(wanted, train(settings.worker_cpus, settings.use_gpu), settings, at_once)
    failures = []
    progress("training runs", 0, len(wanted))
    for done, (setting, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Run):
            log.append(outcome)
            progress("training runs", done, len(wanted), f"{outcome.name}: loss {outcome.loss:.4f}")
        else:
            failures.append(Failure(setting.name, _line(outcome)))
            progress("training runs", done, len(wanted), f"{setting.name} failed")
    return failures


def _here(wanted: Sequence[Setting], task: Task) -> Iterator[Outcome]:
    for setting in wanted:
        try:
            yield setting, task(setting)
        except Exception as error:
            yield setting, error


def _by_ray(
    wanted: Sequence[Setting], task: Task, settings: TrainingSettings, at_once: int | None
) -> Iterator[Outcome]:
    import ray

    from feature_repo.cluster import ensure_ray

    own = not (ray.is_initialized() or settings.ray_address or os.environ.get("RAY_ADDRESS"))
    ensure_ray(settings)
    # Ray started here pretends to have more CPUs than there are; of a cluster's, Ray itself keeps count.
    room = at_once or (max(1, (os.cpu_count() or 1) // settings.worker_cpus) if own else len(wanted))
    remote = ray.remote(
        num_cpus=settings.worker_cpus, num_gpus=settings.study_gpu_share if settings.use_gpu else 0, max_retries=1
    )(_train)
    queue = deque(wanted)
    waiting: dict[ray.ObjectRef, Setting] = {}
    while queue or waiting:
        while queue and len(waiting) < room:
            setting = queue.popleft()
            waiting[remote.remote(task, setting)] = setting
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        ended = waiting.pop(ready)
        try:
            yield ended, ray.get(ready)
        except Exception as error:
            yield ended, getattr(error, "cause", None) or error  # the error itself, not Ray's page about it


def _train(task: Task, setting: Setting) -> Run:
    return task(setting)


def _line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}"
