"""Sessions of a training loop: the seam to Ray Train, and its twin in one process."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from portrait.feature_repo.log.durable_files import replacement
from portrait.training.json_lines import JsonLines

CHECKPOINT = "state.pt"
METRICS = "metrics.jsonl"
KEPT = 2  # checkpoints; a worker may have to go back one further than the newest


class Session(Protocol):
    """The place where a training loop runs."""

    rank: int
    world: int

    def restore(self) -> dict[str, Any] | None:
        """The newest state of this run; None when it begins."""
        ...

    def report(self, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Log an epoch and keep its state; a barrier of all workers."""
        ...


class MetricLog(JsonLines):
    """What the workers of a run log; after a crash an epoch may stand in it twice, the later line counts."""

    def write(self, event: str, **values: Any) -> None:
        """Append one line."""
        self.append({"event": event, "time": time.time(), "pid": os.getpid(), **values})

    def epochs(self) -> list[dict[str, Any]]:
        """The epochs in order, each once."""
        by_epoch = {line["epoch"]: line for line in self.read() if line["event"] == "epoch"}
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]


class LocalSession:
    """One worker, this process: no Ray."""

    rank, world = 0, 1

    def __init__(self, folder: Path) -> None:
        self.log = MetricLog(folder / METRICS)
        self.path = folder / CHECKPOINT

    def restore(self) -> dict[str, Any] | None:
        """The state of the last finished epoch."""
        return load_state(self.path) if self.path.exists() else None

    def report(self, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Replace the state in one step."""
        self.log.write("epoch", **metrics)  # before the state: an epoch may be logged twice, never lost
        with replacement(self.path, durable=False) as scratch:
            torch.save(state, scratch)


class RaySession:
    """A worker of Ray Train."""

    def __init__(self, folder: Path) -> None:
        from ray import train

        self.train = train
        self.rank = train.get_context().get_world_rank()
        self.world = train.get_context().get_world_size()
        self.log = MetricLog(folder / METRICS)
        self.log.write("worker", rank=self.rank, world=self.world)

    def restore(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint that Ray Train has."""
        checkpoint = self.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return load_state(Path(folder) / CHECKPOINT)

    def report(self, metrics: dict[str, float], state: dict[str, Any]) -> None:
        """Rank 0 stores the state; all wait for one another."""
        if self.rank != 0:
            self.train.report(metrics)
            return
        self.log.write("epoch", **metrics)  # before the report: an epoch may be logged twice, never lost
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state, Path(folder) / CHECKPOINT)
            self.train.report(metrics, checkpoint=self.train.Checkpoint.from_directory(folder))


def load_state(path: Path) -> dict[str, Any]:
    """A stored state; refuses anything but tensors and plain values."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
