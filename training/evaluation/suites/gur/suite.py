"""The run of the GUR suite: per task the representation, its ablations and the baselines; finished lines are on disk.

A version has seen the time of most tasks' answers, so its recipe is trained again on what each task's baselines are
fitted on: the same users and events, nothing later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.encoder import Encoder
from portrait.training.encoding.later_items import NewItems
from portrait.training.evaluation.gains import Gain
from portrait.training.evaluation.line_log import Line, LineLog, gain
from portrait.training.evaluation.suites.gur.claims import CLAIMS, Claim, Variant
from portrait.training.evaluation.tasks.classes import ClassTask
from portrait.training.evaluation.tasks.evaluate import (
    TaskEvaluation,
    build,
    hidden_from,
    measure_lines,
    recipe,
    register,
    stamp_of,
)
from portrait.training.evaluation.tasks.kinds import Task
from portrait.training.evaluation.tasks.leakage import Built
from portrait.training.evaluation.tasks.methods import Method, baseline_method
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.evaluation.tasks.task_files import load_task
from portrait.training.runs.trained_once import train_once
from portrait.training.runs.training_inputs import ONBOARDING, TrainingInputs
from portrait.training.settings import TrainingSettings

WHOLE = "representation"
ITEM_DIMENSION = "item_dimension"  # 0: without modality encoders


@dataclass(frozen=True)
class Result:
    """A claim, measured."""

    claim: Claim
    task: str
    ours: Line
    other: Line

    @cached_property
    def gain(self) -> Gain:
        """The gain with its interval over the users that both were tested on."""
        found = gain(self.ours, self.other)
        return Gain(f"{self.task}: over {self.claim.than}", found.value, found.low, found.high, self.claim.gain)

    @property
    def sign(self) -> str:
        """Whether ours is better, as in the paper; where the interval holds 0 the two are not told apart."""
        if not (self.gain.low > 0 or self.gain.high < 0):
            return "not told apart"
        return "holds" if self.gain.value > 0 else "does not hold"


@dataclass(frozen=True)
class Tables:
    """The results of all claims that the instance's data can answer."""

    results: list[Result]
    left_out: dict[str, str]  # task or variant: why it was not measured


def run(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    settings: TrainingSettings,
    folder: Path,
    progress: Progress | None = None,
    claims: Sequence[Claim] = CLAIMS,
) -> Tables:
    """Measure every claim that data and family allow, and register the recipe's metrics with the version.

    Raises InvalidInput when they allow none.
    """
    progress = progress or silent
    folder.mkdir(parents=True, exist_ok=True)
    left_out = _untrainable(version)
    claims = [claim for claim in claims if claim.than not in left_out]
    names = list(dict.fromkeys(name for claim in claims for name in claim.tasks))
    found: dict[str, TaskEvaluation] = {}
    for name in names:
        others = dict.fromkeys(claim.than for claim in claims if name in claim.tasks)
        try:
            found[name] = _measure(repo, version, load_task(name), list(others), settings, folder, progress)
        except InvalidInput as error:
            left_out[name] = str(error).removeprefix(name).lstrip(": ")
    if not found:
        raise InvalidInput("; ".join(f"{name}: {why}" for name, why in left_out.items()))
    for one in found.values():
        register(repo, version, replace(one, task=f"gur/{one.task}"))
    return Tables([result for claim in claims for result in _results(claim, found)], left_out)


def _untrainable(version: EmbeddingVersion) -> dict[str, str]:
    """Variants that the version's family cannot be trained as, and why."""
    if ITEM_DIMENSION in version.config:
        return {}
    return {Variant.NO_ITEMS: f"{version.family} knows items by their encoder alone, nothing is left without it"}


def _results(claim: Claim, found: dict[str, TaskEvaluation]) -> list[Result]:
    def line(name: str, method: str) -> Line:
        return next(one for one in found[name].lines if (one.method, one.metric) == (method, claim.metric))

    return [Result(claim, name, line(name, WHOLE), line(name, claim.than)) for name in claim.tasks if name in found]


def _measure(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    task: Task,
    others: list[str],
    settings: TrainingSettings,
    folder: Path,
    progress: Progress,
) -> TaskEvaluation:
    # Nothing is hidden: what static fields are worth is one of the questions.
    data = TaskData(repo, team_fields=version.team_fields)
    built = build(task, data)
    stamp = stamp_of(task, data)
    log = LineLog(folder / f"{task.name}-{stamp}-{version.fingerprint[:12]}.jsonl")
    lines: list[Line] = []
    for number, name in enumerate([WHOLE, *others]):
        progress(f"measuring {task.name}", number, len(others) + 1, name)
        # What the recipe reaches bears the version's fingerprint: it is what will be registered.
        fingerprint = version.fingerprint if name == WHOLE else None
        of = log.lines_of(name, fingerprint)
        if not of:
            if name == WHOLE or name in list(Variant):
                method = Method(name, encoder=_encoder(repo, version, name, built, settings, folder, progress))
            else:
                method = baseline_method(name)
            of = measure_lines(built, method, fingerprint, task)
            log.add(of)
        lines += of
    progress(f"measuring {task.name}", len(others) + 1, len(others) + 1)
    return TaskEvaluation(task.name, built.as_of, stamp, lines, folder)


def _encoder(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    variant: str,
    built: Built,
    settings: TrainingSettings,
    folder: Path,
    progress: Progress,
) -> Encoder:
    """The recipe, or a variant of it, trained on what the task's baselines are fitted on; once for equal inputs."""
    assert not isinstance(built, ClassTask)  # no claim is about classes
    inputs, overrides = _apply_variant(built.inputs, version, variant)
    data = f"{inputs.snapshot}-{inputs.items_position}"
    name = f"{data}-{variant.replace(' ', '-')}-{version.fingerprint[:12]}"
    encoder = train_once(folder, name, version.family, overrides, inputs, settings, progress)
    NewItems(repo.log).bring(encoder)
    return encoder


def _apply_variant(inputs: TrainingInputs, version: EmbeddingVersion, variant: str) -> tuple[TrainingInputs, list[str]]:
    """(inputs, config overrides) of a variant."""
    hidden = {*hidden_from(version, inputs)}
    overrides = recipe(version)
    if variant == Variant.NO_ITEMS:
        overrides = [text for text in overrides if not text.startswith(f"{ITEM_DIMENSION}=")]
        overrides += [f"{ITEM_DIMENSION}=0"]
    elif variant == Variant.NO_ONBOARDING:
        hidden |= {ONBOARDING}
    elif variant == Variant.NO_STATIC:
        hidden |= {field.name for field in inputs.schema.profile}
    return replace(inputs, exclude=tuple(sorted(hidden))), overrides
