"""A scaling study on an instance: the runs to train, the law fitted to all runs, and the report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from portrait.feature_repo.history.catalogue import items_position
from portrait.feature_repo.history.snapshot import recount_users
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot, load_snapshot
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import Conflict, InvalidInput, NotFound, Unavailable
from portrait.registry.progress import Progress
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.prepare import PreparedSequences
from portrait.training.clue.trainee import split_held_out
from portrait.training.clue.views import Views
from portrait.training.runs.config_overrides import assignments, override
from portrait.training.runs.training_inputs import inputs_of
from portrait.training.scaling.driver import Failure, train_all
from portrait.training.scaling.folder import GRID_SETS, HELD_OUT, Basis, StudyFolder
from portrait.training.scaling.grid import Grid, remaining
from portrait.training.scaling.report import write_report
from portrait.training.scaling.setting import PARAMETERS, Setting, StepCost, sampled_step_cost, size_parameters
from portrait.training.scaling.study import Study, analyse
from portrait.training.scaling.training import SHORTEST, run_config
from portrait.training.settings import TrainingSettings


@dataclass(frozen=True)
class StudyRequest:
    """The request for a scaling study."""

    name: str
    grid: Grid | None = None  # None: train only the runs of `hold_out` that are still missing
    hold_out: tuple[str, ...] = ()  # names of runs that the law must not see
    budgets: tuple[float, ...] = ()  # FLOPs to look ahead to
    overrides: tuple[str, ...] = ()  # `field=value` of CLUE's config, for all runs
    report_only: bool = False
    at_once: int | None = None  # runs at a time; None: as many as there is room for
    command: str = "portrait study scaling"  # the shell line, for the report


@dataclass(frozen=True)
class StudyOutcome:
    """The result of a scaling study."""

    study: Study
    report: Path
    trained: int
    finished_before: int
    failures: tuple[Failure, ...]


def study_scaling(
    repo: FeatureRepo, settings: TrainingSettings, wanted: StudyRequest, progress: Progress
) -> StudyOutcome:
    """Train the runs that the study's log does not have, fit the law to all runs in it, and write the report.

    Raises InvalidInput, before any training, for an impossible request; NotFound when there is nothing to report;
    Unavailable when every run failed.
    """
    folder = StudyFolder(settings.home, wanted.name)
    if folder.basis is None and (wanted.report_only or not (wanted.grid or wanted.hold_out)):
        raise NotFound(
            f"there is no study {wanted.name!r} in {folder.path.parent}: give --sizes, --users, ... or --grid"
        )
    held_out = () if wanted.report_only else tuple(Setting.parse(name) for name in wanted.hold_out)
    grid = None if wanted.report_only else wanted.grid
    with folder.held():
        basis = _basis(repo, folder, wanted.overrides)
        path = _prepare_data(repo, folder, basis, _longest(folder, grid, held_out), progress)
        prepared = PreparedSequences(path)
        cost = sampled_step_cost(prepared, basis.config)
        asked = list(dict.fromkeys([*(grid.settings(cost) if grid else ()), *held_out]))
        _check(asked, prepared, basis.config)
        if folder.basis is None:  # after the check: a refused request pins neither snapshot nor config
            folder.begin(basis)
        todo = remaining(asked, folder.log)
        train = partial(train_all, prepared=path, config=basis.config, log=folder.log, settings=settings)
        failures = train(todo, at_once=wanted.at_once, progress=progress) if todo else []
        study = _analyse_log(folder, wanted, cost, failures)
        commands = folder.commands(wanted.command, trains=bool(todo))
        report = write_report(study, folder.path, commands, f"Scaling study {wanted.name}")
    return StudyOutcome(study, report, len(todo) - len(failures), len(asked) - len(todo), tuple(failures))


def _analyse_log(folder: StudyFolder, wanted: StudyRequest, cost: StepCost, failures: Sequence[Failure]) -> Study:
    """The study of all runs in the log, without the held-out ones that have just failed."""
    runs = folder.log.read()
    if not runs:
        reason = f"all {len(failures)} runs failed, the first with {failures[0].reason}" if failures else "no runs"
        raise Unavailable(f"study {wanted.name} has nothing to report: {reason}")
    failed = {failure.name for failure in failures}
    kept_out = [name for name in wanted.hold_out if name not in failed]
    return analyse(runs, PARAMETERS, cost, wanted.budgets, kept_out)


def _basis(repo: FeatureRepo, folder: StudyFolder, overrides: Sequence[str]) -> Basis:
    """The basis that the study was begun with; for a new study one on the newest snapshot."""
    values = assignments(overrides)
    for name in GRID_SETS:
        if name in values:
            raise InvalidInput(f"--set {name}={values[name]}: the grid sets it; all runs of a study share the rest")
    known = folder.basis
    if known is None:
        items = items_position(repo.log)  # before the cut, which seals them
        snapshot = cut_snapshot(repo.log, None)
        config = override(replace(ClueConfig(), held_out=HELD_OUT), values)
        known = Basis(snapshot.id, snapshot.users, snapshot.as_of, config, items)
    elif override(known.config, values) != known.config:
        raise Conflict(f"study {folder.name} was begun with other values than --set asks for: choose another --name")
    return known


def _longest(folder: StudyFolder, grid: Grid | None, others: Sequence[Setting]) -> int:
    """The greatest sequence length of all runs, finished and wanted."""
    known = (run.sequence_length for run in folder.log.read())
    return max(*(grid.sequence_lengths if grid else ()), *(one.sequence_length for one in others), *known, SHORTEST, 0)


def _prepare_data(repo: FeatureRepo, folder: StudyFolder, basis: Basis, longest: int, progress: Progress) -> Path:
    """The path of the study's prepared data; prepared anew, from the same snapshot and items, for longer sequences."""
    if folder.basis is not None and (found := folder.prepared(longest)):  # without a basis it may be of other data
        return found
    snapshot = _snapshot(repo, basis, progress)
    if (snapshot.id, snapshot.users) != (basis.snapshot, basis.users):
        raise Conflict(
            f"study {folder.name} was begun on snapshot {basis.snapshot} of {basis.users:,} users, there is "
            f"{snapshot.id} of {snapshot.users:,} now: losses would not compare, choose another --name"
        )
    if basis.items not in (None, items_position(repo.log)):
        raise Conflict(
            f"items or their texts have come in since study {folder.name} was begun, and what was prepared of them has "
            "to be made again: losses would not compare, choose another --name"
        )
    config = replace(basis.config, sequence_length=longest)
    return folder.prepare(inputs_of(repo, snapshot, reads_fields=False), config, progress)


def _snapshot(repo: FeatureRepo, basis: Basis, progress: Progress) -> Snapshot:
    """The study's own snapshot while it exists; after an ingest a new cut differs, even as of the same time."""
    try:
        return recount_users(load_snapshot(repo.settings.home, basis.snapshot))
    except NotFound:
        return cut_snapshot(repo.log, basis.as_of, progress)


def _check(asked: Sequence[Setting], prepared: PreparedSequences, config: ClueConfig) -> None:
    """Raise InvalidInput for a run that cannot be trained, before hours are spent on the others."""
    views = Views(prepared.histories, ObjectiveName(config.objective))
    held_out, training = split_held_out(views.users, config)
    for setting in asked:
        size_parameters(setting.size, PARAMETERS)
        run_config(config, setting)
        if setting.users > len(training):
            raise InvalidInput(
                f"run {setting.name} wants {setting.users:,} users: {len(training):,} have two views and are not among "
                f"the {len(held_out):,} held out"
            )
