"""The `clue` family: preparation, training, artifact and loading."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from portrait.registry.progress import Progress
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.model import Clue
from portrait.training.clue.prepare import PreparedSequences, prepare
from portrait.training.clue.representation import ITEMS, ClueRepresentation, item_vectors, portraits
from portrait.training.clue.trainee import ClueTrainee, shape_of
from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.artifact import PRIOR, Content
from portrait.training.runs.config_overrides import override
from portrait.training.runs.training_inputs import TrainingInputs

PREFIX = "clue."  # of the encoders' weights; the objective's are of no use after training


class ClueFamily:
    """NAVER's contrastive encoder of a user's services."""

    name = "clue"
    revision = 1
    descends = True
    reads_fields = False

    def configure(self, overrides: Mapping[str, str]) -> ClueConfig:
        return override(ClueConfig(), overrides)

    def config_from_json(self, document: Mapping[str, Any]) -> ClueConfig:
        return ClueConfig(**document)

    def prepare(self, inputs: TrainingInputs, config: ClueConfig, folder: Path, progress: Progress) -> None:
        """Train the tokenizer and write the sequences of all users."""
        prepare(inputs, config, folder, progress)

    def trainee(self, folder: Path, config: ClueConfig, device: torch.device) -> ClueTrainee:
        return ClueTrainee(PreparedSequences(folder), config, device)

    @torch.no_grad()
    def finish(
        self,
        folder: Path,
        config: ClueConfig,
        weights: Mapping[str, torch.Tensor],
        inputs: TrainingInputs,
        progress: Progress,
    ) -> Content:
        """Encode the whole catalogue; the prior is the mean vector of the users who have a sequence."""
        prepared = PreparedSequences(folder)
        clue = Clue(shape_of(config, len(prepared.tokenizer), len(prepared.vocabularies.actions)))
        clue.load_state_dict({k.removeprefix(PREFIX): v for k, v in weights.items() if k.startswith(PREFIX)})
        clue.eval()
        items = item_vectors(clue, prepared.tokens, progress)
        prior = _mean_portrait(clue, prepared.histories, items, progress)
        return Content(
            family=self.name,
            revision=self.revision,
            dimension=config.dimension,
            document={
                "schema": replace(inputs.visible, profile=(), team=()).to_json(),
                "onboarding": inputs.onboarding,
                "vocabularies": prepared.vocabularies.to_json(),
                "tokenizer": prepared.tokenizer.to_json(),
                "shape": clue.shape.to_json(),
            },
            weights={
                **{name: tensor.numpy() for name, tensor in clue.state_dict().items()},
                PRIOR: prior,
            },
            items=prepared.vocabularies.items.values,
            item_vectors={ITEMS: items},
        )

    def representation(self, content: Content, device: str) -> ClueRepresentation:
        return ClueRepresentation(content, device)


def _mean_portrait(clue: Clue, histories: ServiceHistories, items: Float32, progress: Progress) -> Float32:
    users, owner = np.unique(histories.user, return_inverse=True)
    vectors = portraits(clue, histories, torch.from_numpy(items), owner.astype(np.int64), len(users), progress)
    prior: Float32 = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    return prior
