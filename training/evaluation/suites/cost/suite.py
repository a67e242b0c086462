"""The run of the cost suite: every part is measured once and kept, so that a killed run goes on with the rest."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import numpy as np

from portrait.feature_repo.history.catalogue import items_position
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.baselines.bags import Bags
from portrait.training.evaluation.line_log import Kept, Measured
from portrait.training.evaluation.suites.cost.blocks import CuratedFeatures, CuratedMethod
from portrait.training.evaluation.suites.cost.consumers import CostConsumer, answers_begin, consumers_for
from portrait.training.evaluation.suites.cost.models import MeasuredModel, train_model
from portrait.training.evaluation.suites.cost.numbers import Cost, Reads
from portrait.training.evaluation.suites.cost.reads import Latency, latencies
from portrait.training.evaluation.suites.cost.scores import Score, measure_score
from portrait.training.evaluation.suites.cost.stores import CuratedStore, Held, VectorStore
from portrait.training.evaluation.tasks.evaluate import build, recipe
from portrait.training.evaluation.tasks.kinds import Answers
from portrait.training.evaluation.tasks.leakage import Built, require_unseen, require_usable
from portrait.training.evaluation.tasks.methods import Method
from portrait.training.evaluation.tasks.task_data import TaskData
from portrait.training.settings import TrainingSettings

REVISION = 1  # raise it when the same would be measured another way
FAMILY, DEFAULT = "autoencoder", 120  # of models that are trained here; the shared one is the nearest to it
SAMPLE = 50  # answers whose bytes are counted


class VectorReader(Protocol):
    """Portrait's own reader of a consumer's vector."""

    def read(self, consumer: str, user: str) -> object:
        """Look up the vector of one user."""
        ...

    def nbytes(self, consumer: str, user: str) -> int:
        """Bytes of the answer as JSON."""
        ...


@dataclass(frozen=True)
class CostPlan:
    """The version and the dimensions to compare."""

    version: EmbeddingVersion | None  # read by the five; None: the model trained here whose dimension is nearest to 120
    dimensions: tuple[int, ...]
    overrides: tuple[str, ...] = ()  # of the config of what is trained here
    requests: int = 300  # of each kind of read and consumer


def run(
    repo: FeatureRepo,
    plan: CostPlan,
    settings: TrainingSettings,
    folder: Path,
    reader_over: Callable[[VectorStore], VectorReader],
    progress: Progress | None = None,
) -> Cost:
    """Measure whatever is not kept in the folder yet, and put all together.

    Raises InvalidInput for data that the suite has no consumers for, or a version that has seen what they ask.
    """
    return _Suite(repo, plan, settings, folder, reader_over, progress or silent).run()


class _Suite:
    def __init__(
        self,
        repo: FeatureRepo,
        plan: CostPlan,
        settings: TrainingSettings,
        folder: Path,
        reader_over: Callable[[VectorStore], VectorReader],
        progress: Progress,
    ) -> None:
        if plan.version is None and not plan.dimensions:
            raise InvalidInput("there is no vector to share: name a version, or some --dimensions")
        self._repo, self._plan, self._settings, self._folder = repo, plan, settings, folder
        self._reader_over, self._progress = reader_over, progress
        newest = TaskData(repo).newest
        self._consumers = consumers_for(newest.data_from, newest.as_of)
        self._hidden = tuple({one.task.field for one in self._consumers if isinstance(one.task, Answers)})
        read = None if plan.version is None else plan.version.team_fields
        self._data = TaskData(repo, next(iter(self._hidden), ""), read)
        self._built = cache(self._build)
        self._store = repo.online.kind
        stamp = f"{newest.id}-{items_position(repo.log)}-{_digest(self._consumers, plan)}"
        self._kept = Kept(folder / "lines.jsonl", stamp)

    def run(self) -> Cost:
        if self._plan.version is not None:
            for one in self._consumers:
                require_usable(one.task, self._plan.version)
                require_unseen(one.task, self._built(one.name), self._plan.version)
        models = self._models()
        scores = self._scores(models)
        shared = models[0] if self._plan.version else min(models, key=lambda one: abs(one.dimension - DEFAULT))
        online = self._kept.once(f"online {self._store} {shared.name}", partial(self._online, shared))
        vectors = [Held(**online["vector"]), *self._others(models, shared)]
        return Cost(
            data=self._data.newest.id,
            users=vectors[0].users,
            store=self._store,
            held_how=online["held_how"],
            shared=shared.name,
            models=models,
            scores=scores,
            curated=[Held(**one) for one in online["curated"]],
            vectors=sorted(vectors, key=lambda one: [model.name for model in models].index(one.name)),
            reads=[_reads(one) for one in online["reads"]],
            inputs=Held(**online["inputs"]),
            feast_seconds=online["feast_seconds"],
        )

    def _models(self) -> list[MeasuredModel]:
        version, dimensions = self._plan.version, self._plan.dimensions
        given = [] if version is None else [MeasuredModel.from_version(version, self._settings.home)]
        family = FAMILY if version is None else version.family
        overrides = [*(() if version is None else recipe(version)), *self._plan.overrides]
        found = []
        for number, dimension in enumerate(dimensions):
            self._progress("training models", number, len(dimensions), f"dimension {dimension}")
            found.append(self._kept.once(f"model {dimension}", partial(self._train, family, dimension, overrides)))
        self._progress("training models", len(dimensions), len(dimensions))
        return [*given, *(MeasuredModel(**one) for one in found)]

    def _train(self, family: str, dimension: int, overrides: Sequence[str]) -> Measured:
        inputs = self._data.inputs(answers_begin(self._consumers))
        folder = self._folder / "models"
        return asdict(
            train_model(family, dimension, overrides, inputs, self._hidden, folder, self._settings, self._progress)
        )

    def _scores(self, models: Sequence[MeasuredModel]) -> list[Score]:
        total = len(self._consumers) * (1 + len(models))
        found: list[Measured] = []
        for one in self._consumers:
            for model in (None, *models):
                name = "curated" if model is None else model.name
                self._progress("measuring tasks", len(found), total, f"{one.name}, {name}")
                key = f"score {one.name} {name} {model.fingerprint if model else ''}"
                found.append(self._kept.once(key, partial(self._score, one, model)))
        self._progress("measuring tasks", total, total)
        return [Score(**fields) for fields in found]

    def _score(self, consumer: CostConsumer, model: MeasuredModel | None) -> Measured:
        method = (
            CuratedMethod(blocks=consumer.blocks)
            if model is None
            else Method(model.name, encoder=model.encoder(self._repo.log))
        )
        return asdict(measure_score(consumer, self._built(consumer.name), method))

    def _build(self, name: str) -> Built:
        return build(next(one.task for one in self._consumers if one.name == name), self._data)

    def _others(self, models: Sequence[MeasuredModel], shared: MeasuredModel) -> list[Held]:
        return [
            Held(**self._kept.once(f"held {self._store} {model.name}", partial(self._held, model)))
            for model in models
            if model.name != shared.name
        ]

    def _held(self, model: MeasuredModel) -> Measured:
        store = VectorStore(self._repo, self._folder, self._data.rows(), model, [])
        try:
            return asdict(store.fill())
        finally:
            store.instance.remove()

    def _online(self, model: MeasuredModel) -> Measured:
        """Fill both sides into the store and read them by turns; everything is removed from it again."""
        rows, names = self._data.rows(), [one.name for one in self._consumers]
        curated = CuratedStore(self._settings, self._folder, rows)
        shared = VectorStore(self._repo, self._folder, rows, model, names)
        bags = Bags.over(self._data.inputs())
        made = [(one, CuratedFeatures(bags, one.blocks)) for one in self._consumers]
        try:
            self._progress("filling online stores", 0, 3, "curated features")
            held = curated.fill(made, self._data.newest.as_of)
            self._progress("filling online stores", 1, 3, "vectors")
            feast_seconds = shared.fill_by_feast()
            vector, inputs = shared.fill(), shared.add_inputs()
            self._progress("filling online stores", 2, 3, "reading")
            reads = self._read(curated, shared, rows.ids)
            self._progress("filling online stores", 3, 3)
            return {
                "held_how": curated.instance.online.held_how,
                "curated": [asdict(one) for one in held],
                "vector": asdict(vector),
                "inputs": asdict(inputs),
                "feast_seconds": feast_seconds,
                "reads": [asdict(one) for one in reads],
            }
        finally:
            curated.instance.remove()
            shared.instance.remove()

    def _read(self, curated: CuratedStore, shared: VectorStore, users: Sequence[str]) -> list[Reads]:
        names = [one.name for one in self._consumers]
        reader = self._reader_over(shared)
        kinds: dict[str, Callable[[str], object]] = {}
        for name in names:
            own, vector = curated.service(name), shared.service(name)
            kinds[f"{name} curated"] = partial(curated.instance.read, own)
            kinds[f"{name} shared"] = partial(shared.instance.read, vector)
            kinds[f"{name} reader"] = partial(reader.read, name)
        taken = latencies(kinds, users, self._plan.requests)
        asked = users[:: max(len(users) // SAMPLE, 1)]
        found = []
        for name in names:
            own, vector = curated.service(name), shared.service(name)
            found.append(
                Reads(
                    consumer=name,
                    curated=taken[f"{name} curated"],
                    shared=taken[f"{name} shared"],
                    reader=taken[f"{name} reader"],
                    curated_lookups=len(own.feature_view_projections),
                    shared_lookups=len(vector.feature_view_projections),
                    curated_bytes=_mean(curated.instance.answer(own, user).nbytes for user in asked),
                    shared_bytes=_mean(shared.instance.answer(vector, user).nbytes for user in asked),
                    reader_bytes=_mean(reader.nbytes(name, user) for user in asked),
                )
            )
        return found


def _reads(fields: Measured) -> Reads:
    sides = {side: Latency(**fields[side]) for side in ("curated", "shared", "reader")}
    return Reads(**{**fields, **sides})


def _mean(sizes: Iterable[int]) -> int:
    return round(float(np.mean(list(sizes))))


def _digest(consumers: Sequence[CostConsumer], plan: CostPlan) -> str:
    """A short digest that changes when something else would be measured."""
    version = plan.version.fingerprint if plan.version is not None else None
    asked = [
        REVISION,
        [f"Consumer(name={one.name!r}, task={one.task!r}, blocks={one.blocks!r})" for one in consumers],
        version,
        sorted(plan.overrides),
    ]
    return sha256(json.dumps(asked).encode()).hexdigest()[:8]
