"""The smallest family there can be: z is a linear map of a user's number of events per action."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.registry.progress import Progress
from portrait.training.encoding.arrays import Bool, Float32, Int64
from portrait.training.encoding.artifact import PRIOR, Content
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.runs.config_overrides import override
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.runs.training_loop import Schedule


@dataclass(frozen=True)
class StubConfig:
    dimension: int = 3
    epochs: int = 2


class StubTrainee:
    def __init__(self, rows: Float32, config: StubConfig) -> None:
        torch.manual_seed(0)
        self.rows = torch.from_numpy(rows)
        self.model = nn.Linear(rows.shape[1], config.dimension, bias=False)
        self.optimiser = torch.optim.SGD(self.model.parameters())
        self.schedule = Schedule(config.epochs, patience=9, learning_rate=0.01, seed=0)
        self.steps = 1

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Tensor]:
        yield self.rows[rank::world]

    def backward(self, batch: Tensor) -> Tensor:
        loss = (self.model(batch) @ self.model.weight - batch).square().mean()
        torch.autograd.backward(loss)
        return loss

    def held_out_loss(self) -> float:
        return float((self.model(self.rows) @ self.model.weight - self.rows).square().mean())


class StubFamily:
    name = "stub"
    revision = 1
    descends = True
    reads_fields = False

    def configure(self, overrides: Mapping[str, str]) -> StubConfig:
        return override(StubConfig(), overrides)

    def config_from_json(self, document: Mapping[str, Any]) -> StubConfig:
        return StubConfig(**document)

    def prepare(self, inputs: TrainingInputs, config: StubConfig, folder: Path, progress: Progress) -> None:
        vocabularies, _ = survey(inputs, progress)
        batcher = Batcher(inputs.visible, vocabularies, inputs.onboarding)
        np.save(folder / "rows.npy", np.concatenate([_counts(batcher, t, inputs.as_of_us) for t in inputs.tables()]))
        (folder / "vocabularies.json").write_text(json.dumps([vocabularies.to_json(), vocabularies.items.values]))

    def trainee(self, folder: Path, config: StubConfig, device: torch.device) -> StubTrainee:
        return StubTrainee(np.load(folder / "rows.npy"), config)

    def finish(
        self,
        folder: Path,
        config: StubConfig,
        weights: Mapping[str, Tensor],
        inputs: TrainingInputs,
        progress: Progress,
    ) -> Content:
        vocabularies, items = json.loads((folder / "vocabularies.json").read_text())
        rows, weight = np.load(folder / "rows.npy"), weights["weight"].numpy()
        return Content(
            family=self.name,
            revision=self.revision,
            dimension=config.dimension,
            document={
                "schema": inputs.visible.to_json(),
                "onboarding": inputs.onboarding,
                "vocabularies": vocabularies,
            },
            weights={"weight": weight, PRIOR: (rows @ weight.T).mean(axis=0)},
            items=items,
            item_vectors={},
        )

    def representation(self, content: Content, device: str) -> "StubRepresentation":
        return StubRepresentation(content)


class StubRepresentation:
    window_days: tuple[int, ...] = ()
    nbytes = 0

    def __init__(self, content: Content) -> None:
        vocabularies = Vocabularies.from_json(content.document["vocabularies"], content.items)
        self.batcher = Batcher(InputSchema.from_json(content.document["schema"]), vocabularies, True)
        self.weight = content.weights["weight"]

    def represent(self, users: pa.Table, as_of: Int64) -> tuple[Float32, Bool]:
        counts = _counts(self.batcher, users, as_of)
        return counts @ self.weight.T, counts.any(axis=1)

    def learn(self, items: pa.Table) -> None:
        """Items are nothing to it."""


def _counts(batcher: Batcher, users: pa.Table, as_of: int | Int64) -> Float32:
    arrays = batcher.arrays(users, as_of)
    actions = len(batcher.vocabularies.actions)
    flat = np.bincount(arrays.events.user * actions + arrays.events.action, minlength=len(arrays) * actions)
    return flat.reshape(len(arrays), actions).astype(np.float32)
