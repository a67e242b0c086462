"""The driver of a study: trains its runs through Ray or in this process. A failed run does not stop the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from portrait.registry.errors import first_line
from portrait.registry.progress import Progress
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.runs.parallel_jobs import in_turn, side_by_side
from portrait.training.scaling.runs import Run, RunLog
from portrait.training.scaling.setting import Setting
from portrait.training.scaling.training import train_run
from portrait.training.settings import TrainingSettings


@dataclass(frozen=True)
class Failure:
    """A run that has no row."""

    name: str
    reason: str  # one line


@dataclass(frozen=True)
class StudyWorker:
    """Trains any run of a study; sent to the workers."""

    prepared: Path
    config: ClueConfig
    gpu: bool

    def __call__(self, setting: Setting) -> Run:
        device = torch.device("cuda" if self.gpu else "cpu")
        return train_run(PreparedSequences(self.prepared), self.config, setting, device)


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
    if settings.num_workers == 0:
        outcomes = in_turn(StudyWorker(prepared, config, gpu=False), wanted)
    else:
        outcomes = side_by_side(StudyWorker(prepared, config, settings.use_gpu), wanted, settings, at_once)
    failures = []
    progress("training runs", 0, len(wanted))
    for done, (setting, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, Run):
            log.append(outcome)
            progress("training runs", done, len(wanted), f"{outcome.name}: loss {outcome.loss:.4f}")
        else:
            failures.append(Failure(setting.name, f"{type(outcome).__name__}: {first_line(outcome)}"))
            progress("training runs", done, len(wanted), f"{setting.name} failed")
    return failures
