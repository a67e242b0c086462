"""Jobs of data and versions: ingest, import, training, comparisons and evaluation."""

import subprocess
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.feature_repo.ingest.adapters import convert
from portrait.feature_repo.ingest.ingest import ingest as ingest_files
from portrait.feature_repo.ingest.ingest_report import IngestReport
from portrait.feature_repo.log.rewriting import strike_forgotten
from portrait.feature_repo.log.staging import working_folder
from portrait.infra.portrait import Portrait
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.settings import PROJECT_ROOT
from portrait.registry.versions.versions import NewVersion
from portrait.training.baselines.catalogue import select_baselines
from portrait.training.encoding import families
from portrait.training.evaluation.suites.clue.report import write_report as write_services_report
from portrait.training.evaluation.suites.clue.suite import ComparisonPlan, RankLine, compare
from portrait.training.evaluation.suites.gur.report import write_report as write_gur_report
from portrait.training.evaluation.suites.gur.suite import Tables
from portrait.training.evaluation.suites.gur.suite import run as run_gur
from portrait.training.evaluation.tasks.evaluate import TaskEvaluation, evaluate
from portrait.training.evaluation.tasks.methods import baselines_for
from portrait.training.evaluation.tasks.task_files import load_task
from portrait.training.runs.run import TrainedModel, train
from portrait.training.runs.training_inputs import TrainingInputs, inputs_of


def code_revision() -> str:
    """The commit of the checkout, marked if it has changes; without a checkout the installed version."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return version("portrait")
    return commit + ("-changed" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(PROJECT_ROOT), *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def take_in(
    portrait: Portrait, events: Path | None, items: Path | None, users: Path | None, progress: Progress | None = None
) -> IngestReport:
    """Ingest canonical tables, let Feast follow their columns, and put the raw features of touched users online."""
    report = ingest_files(portrait.log, events, items, users, progress=progress)
    portrait.repo.apply()
    portrait.repo.publish(progress)
    return report


def import_data_set(
    portrait: Portrait, data_set: str, path: Path, progress: Progress | None = None
) -> tuple[IngestReport, Path | None]:
    """Ingest a public data set through its adapter: (report, path of its labels in the home or None)."""
    with working_folder(portrait.settings.home, "import") as folder:
        files = convert(data_set, path, folder)
        report = take_in(portrait, files.events, files.items, files.users, progress).read_from(path)
        if files.labels is None:
            return report, None
        labels = portrait.settings.home / "labels" / f"{data_set}.parquet"
        labels.parent.mkdir(exist_ok=True)
        files.labels.replace(labels)
        strike_forgotten(portrait.log, [labels])
        return report, labels


def train_version(
    portrait: Portrait,
    family: str,
    as_of: datetime | None = None,
    exclude: Sequence[str] = (),
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> EmbeddingVersion:
    """Train a representation model on the snapshot as of a time, register it, and give it its Feast view."""
    reads_fields = families.get(family).reads_fields
    inputs = training_inputs(portrait, cut_snapshot(portrait.log, as_of), exclude, reads_fields)
    model = train(family, overrides, inputs, portrait.settings, progress)
    version = portrait.registry.versions.register(new_version(model))
    portrait.repo.apply()
    return version


def training_inputs(
    portrait: Portrait, snapshot: Snapshot, exclude: Sequence[str] = (), reads_fields: bool = True
) -> TrainingInputs:
    """The inputs of a training: the snapshot with the teams' features, if the family reads any, and the catalogue."""
    return inputs_of(portrait.repo, snapshot, exclude, reads_fields)


def new_version(model: TrainedModel) -> NewVersion:
    """The description of a trained model for the registry."""
    return NewVersion(
        family=model.family,
        fingerprint=model.fingerprint,
        dimension=model.dimension,
        run=model.run,
        artifact=model.artifact,
        snapshot=model.snapshot,
        data_from=model.data_from,
        data_to=model.data_to,
        feature_schema=model.input_schema.to_json(),
        config=model.config,
        metrics=model.metrics,
        code_revision=code_revision(),
    )


def compare_services(
    portrait: Portrait,
    targets: Sequence[str],
    seeds: Sequence[int],
    overrides: Sequence[str],
    clock: bool,
    unseen: bool,
    name: str,
    as_of: datetime | None = None,
    progress: Progress | None = None,
) -> tuple[list[RankLine], Path]:
    """Run CLUE's comparison on the snapshot as of a time: (all lines, path of the report)."""
    inputs = training_inputs(portrait, cut_snapshot(portrait.log, as_of))
    folder = portrait.settings.home / "studies" / name
    plan = ComparisonPlan(tuple(targets), tuple(seeds), tuple(overrides), clock, unseen=unseen)
    lines = compare(inputs, plan, folder, portrait.settings, progress)
    return lines, write_services_report(lines, folder)


def compare_gur(portrait: Portrait, version: str, progress: Progress | None = None) -> tuple[Tables, Path]:
    """Measure GUR's tables by a version's recipe: (the tables, path of the report)."""
    known = portrait.registry.versions.get(version)
    folder = portrait.settings.home / "studies" / "gur"
    tables = run_gur(portrait.repo, known, portrait.settings, folder, progress)
    return tables, write_gur_report(tables, known.id, folder)


def evaluate_task(
    portrait: Portrait,
    version: str | None,
    task: str,
    baselines: str = "all",
    progress: Progress | None = None,
    beside: Sequence[str] = (),
) -> TaskEvaluation:
    """Measure a version (or none), others beside it and baselines on a task by name or file; registers the metrics.

    Raises InvalidInput when there is nothing to measure.
    """
    asked = load_task(task)
    known_names = baselines_for(asked.kind)
    names = select_baselines(
        ",".join(asked.baselines) if baselines == "all" and asked.baselines else baselines, known_names
    )
    if version is None and not names:
        raise InvalidInput("there is nothing to measure: name a version, or some --baselines")
    if version is None and beside:
        raise InvalidInput(f"--beside {beside[0]}: name the version that it stands beside first")
    known = portrait.registry.versions.get(version) if version is not None else None
    others = [portrait.registry.versions.get(one) for one in beside]
    return evaluate(portrait.repo, known, asked, names, portrait.settings, progress, others)
