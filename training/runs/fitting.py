"""The fitting of weights, by workers of Ray Train or in this process."""

import os
from pathlib import Path
from typing import Any

import torch

from portrait.registry.errors import Unavailable, first_line
from portrait.training.encoding import families
from portrait.training.runs.session import CHECKPOINT, LocalSession, RaySession, load_state
from portrait.training.runs.training_loop import fit
from portrait.training.settings import TrainingSettings

# Reports wait for the controller's poll: 2 s by default, at every epoch.
POLL = ("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def fit_weights(
    family: str, config: dict[str, Any], folder: Path, settings: TrainingSettings
) -> dict[str, torch.Tensor]:
    """Weights of the best epoch of the run prepared in `folder`; goes on from its newest checkpoint if there is one.

    Raises Unavailable when the workers failed more than `max_failures` times; the run can then be resumed.
    """
    if settings.num_workers == 0 or not families.get(family).descends:
        return _fit_here(family, config, folder)
    return _fit_by_ray(family, config, folder, settings)


def _fit_here(family: str, config: dict[str, Any], folder: Path) -> dict[str, torch.Tensor]:
    chosen = families.get(family)
    session = LocalSession(folder)
    fit(chosen.trainee(folder / "prepared", chosen.config_from_json(config), torch.device("cpu")), session)
    return _best(folder / CHECKPOINT)


def _fit_by_ray(
    family: str, config: dict[str, Any], folder: Path, settings: TrainingSettings
) -> dict[str, torch.Tensor]:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    from portrait.feature_repo.ray_cluster import ensure_ray

    os.environ.setdefault(*POLL)
    ensure_ray(settings)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"family": family, "config": config, "folder": str(folder), "cpus": settings.worker_cpus},
        scaling_config=ScalingConfig(
            num_workers=settings.num_workers,
            use_gpu=settings.use_gpu,
            resources_per_worker={"CPU": settings.worker_cpus, **({"GPU": 1} if settings.use_gpu else {})},
        ),
        run_config=RunConfig(
            name="fit",  # the same storage path and name again is how Ray Train resumes
            storage_path=str(folder / "ray"),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=settings.max_failures),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise Unavailable(
            f"training failed more than {settings.max_failures} times ({_reason(error)}): the same command goes on "
            "from the last checkpoint"
        ) from error
    if result.checkpoint is None:
        raise Unavailable(f"training ended without a checkpoint in {folder}: run the same command again")
    with result.checkpoint.as_directory() as checkpoint:
        return _best(Path(checkpoint) / CHECKPOINT)


def _reason(error: Exception) -> str:
    """One line a failed worker; Ray's own message is a page with tracebacks."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    lines = [f"worker {rank}: {first_line(failure) or type(failure).__name__}" for rank, failure in failures.items()]
    return "; ".join(lines) or type(error).__name__


def _worker(loop: dict[str, Any]) -> None:
    """The training loop of one worker of Ray Train."""
    from ray.train.torch import get_device

    torch.set_num_threads(loop["cpus"])
    family = families.get(loop["family"])
    folder = Path(loop["folder"])
    trainee = family.trainee(folder / "prepared", family.config_from_json(loop["config"]), get_device())
    fit(trainee, RaySession(folder))


def _best(state: Path) -> dict[str, torch.Tensor]:
    best: dict[str, torch.Tensor] = load_state(state)["best"]
    return best
