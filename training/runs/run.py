"""A training run of any family: prepare, fit, draw the losses, write the artifact. Killed, it goes on where it was."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.registry.progress import Progress, silent
from portrait.training.encoding import families, probe
from portrait.training.encoding.artifact import FORMAT, Content, save_content, seal
from portrait.training.encoding.encoder import Encoder
from portrait.training.encoding.families import Family
from portrait.training.runs.config_overrides import assignments
from portrait.training.runs.fitting import fit_weights
from portrait.training.runs.session import METRICS, MetricLog
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.runs.workspace import Workspace, claim
from portrait.training.settings import TrainingSettings


def draw_losses(epochs: list[dict[str, Any]], path: Path) -> None:
    """Draw training and held-out loss by epoch, as PNG; the best epoch is marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")  # no pyplot: nothing global, no display
    axes = figure.subplots()
    numbers = [line["epoch"] + 1 for line in epochs]
    axes.plot(numbers, [line["loss"] for line in epochs], label="training users")
    axes.plot(numbers, [line["held_out_loss"] for line in epochs], label="held-out users")
    if epochs:
        axes.axvline(epochs[-1]["best_epoch"] + 1, color="grey", linestyle=":", label="kept")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})


WATCH_SECONDS = 0.3


@dataclass(frozen=True)
class TrainedModel:
    """A finished run, with all that the registration of its version needs."""

    run: str
    family: str
    path: Path
    artifact: str  # the path relative to the home
    fingerprint: str
    dimension: int
    metrics: dict[str, float]
    config: dict[str, Any]
    snapshot: str
    data_from: datetime | None
    data_to: datetime
    input_schema: InputSchema  # of what the model reads
    seconds: float


def train(
    family: str,
    overrides: Sequence[str],
    inputs: TrainingInputs,
    settings: TrainingSettings,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train a model and write its artifact to `<home>/artifacts/<run>`; `overrides` are `field=value` of its config.

    An unfinished run of the same family, config, snapshot and fields goes on from its last checkpoint, to the
    same weights bit for bit; a finished one never does: the same request then starts a fresh run.
    Raises NotFound for an unknown family, InvalidInput for an override or data that cannot be used, Unavailable when
    workers keep dying.
    """
    started = time.monotonic()
    progress = progress or silent
    chosen = families.get(family)
    config = chosen.configure(assignments(overrides))
    plain = _plain(config)
    artifacts = settings.home / "artifacts"
    with claim(artifacts / ".unfinished", family, _request(chosen, plain, inputs)) as workspace:
        _prepare(chosen, inputs, config, workspace, progress)
        log = MetricLog(workspace.folder / METRICS)
        with _watch_epochs(log, max(getattr(config, "epochs", 1), 1), progress):
            weights = fit_weights(family, plain, workspace.folder, settings)
        content = chosen.finish(workspace.folder / "prepared", config, weights, inputs, progress)
        progress("writing the artifact", 0, 1)
        metrics = _metrics(log, inputs, started)
        record = {
            "run": workspace.run,
            "config": plain,
            "exclude": list(inputs.exclude),
            "snapshot": inputs.snapshot,
            "metrics": metrics,
        }
        path = _publish(workspace, content, inputs, log, record, artifacts)
        shutil.rmtree(workspace.folder)
        progress("writing the artifact", 1, 1)
    return TrainedModel(
        run=workspace.run,
        family=family,
        path=path,
        artifact=str(path.relative_to(settings.home)),
        fingerprint=content.fingerprint,
        dimension=content.dimension,
        metrics=metrics,
        config={**plain, "exclude": list(inputs.exclude), **_item_side(chosen, content)},
        snapshot=inputs.snapshot,
        data_from=inputs.data_from,
        data_to=inputs.as_of,
        input_schema=InputSchema.from_json(content.document["schema"]),
        seconds=time.monotonic() - started,
    )


def _prepare(family: Family, inputs: TrainingInputs, config: Any, workspace: Workspace, progress: Progress) -> None:
    """Prepare once; a run killed in the middle of it prepares again."""
    prepared, scratch = workspace.folder / "prepared", workspace.folder / "preparing"
    if prepared.exists():
        return
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    family.prepare(inputs, config, scratch, progress)
    scratch.rename(prepared)


def _publish(
    workspace: Workspace,
    content: Content,
    inputs: TrainingInputs,
    log: MetricLog,
    record: dict[str, Any],
    artifacts: Path,
) -> Path:
    """Write the artifact beside the run, then make it visible by one rename."""
    final, scratch = artifacts / workspace.run, workspace.folder / "artifact"
    if final.exists():  # killed between the rename and the removal of the workspace
        return final
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    save_content(scratch, content)
    users, as_of = probe.probe_users(content, inputs.as_of_us)
    probe.save(scratch, users, as_of, Encoder(content).encode(users, as_of))
    (scratch / "run.json").write_text(json.dumps(record, indent=1))
    shutil.copy(log.path, scratch / METRICS)
    draw_losses(log.epochs(), scratch / "loss.png")
    seal(scratch, content)
    scratch.rename(final)
    return final


def _item_side(family: Family, content: Content) -> dict[str, Any]:
    """The modality encoders behind a model, and the revision of the code that encodes."""
    encoders = {name: {"items": len(v), "dimension": v.shape[1]} for name, v in content.item_vectors.items()}
    return {"modality_encoders": encoders, "encoder_revision": family.revision}


def _request(family: Family, config: dict[str, Any], inputs: TrainingInputs) -> str:
    """A digest that is equal for runs that would end in the same model."""
    data = [inputs.snapshot, inputs.items_position, inputs.visible.to_json(), inputs.onboarding]
    data += [list(inputs.team_stamp)] if inputs.team_stamp else []  # without views, runs of earlier code go on
    asked = [FORMAT, family.name, family.revision, config, *data]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _metrics(log: MetricLog, inputs: TrainingInputs, started: float) -> dict[str, float]:
    epochs = log.epochs()
    best = epochs[int(epochs[-1]["best_epoch"])]
    return {
        "loss": best["loss"],
        "held_out_loss": best["held_out_loss"],
        "best_epoch": float(best["epoch"] + 1),  # counted from one, as in the picture
        "epochs": float(len(epochs)),
        "users": float(inputs.users),
        "seconds": time.monotonic() - started,
    }


def _plain(config: Any) -> dict[str, Any]:
    """The config as JSON would give it back."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


@contextmanager
def _watch_epochs(log: MetricLog, epochs: int, progress: Progress) -> Iterator[None]:
    """Show new epochs of the log while the block runs; the workers are other processes."""
    done = threading.Event()

    def watch() -> None:
        shown, over = -1, False
        while not over:
            over = done.wait(WATCH_SECONDS)
            lines = log.epochs()  # once more at the end: the last epochs may have come since
            if lines and lines[-1]["epoch"] > shown:
                newest = lines[-1]
                shown, rate = newest["epoch"], newest.get("users_per_second", 0.0)
                said = f"held-out loss {newest['held_out_loss']:.4f}" + (f", {rate:,.0f} users/s" if rate else "")
                progress("training", shown + 1, epochs, said)

    progress("training", 0, epochs)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
