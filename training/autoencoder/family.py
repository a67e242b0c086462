"""The `autoencoder` family: preparation, training, artifact and loading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from portrait.registry.progress import Progress
from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.autoencoder.geometry import settle
from portrait.training.autoencoder.model import Autoencoder
from portrait.training.autoencoder.trainee import AutoencoderTrainee
from portrait.training.blocks.prepare import PreparedRows, prepare
from portrait.training.blocks.row_builder import RowBuilder, block_content
from portrait.training.encoding.arrays import Bool, Float32, Int64
from portrait.training.encoding.artifact import PRIOR, Content
from portrait.training.runs.config_overrides import config_from_json, override
from portrait.training.runs.training_inputs import TrainingInputs


class AutoencoderFamily:
    """GUR's denoising autoencoder over blocks of a user's features."""

    name = "autoencoder"
    revision = 1
    descends = True
    reads_fields = True

    def configure(self, overrides: Mapping[str, str]) -> AutoencoderConfig:
        return override(AutoencoderConfig(), overrides)

    def config_from_json(self, document: Mapping[str, Any]) -> AutoencoderConfig:
        return config_from_json(AutoencoderConfig, document)

    def prepare(self, inputs: TrainingInputs, config: AutoencoderConfig, folder: Path, progress: Progress) -> None:
        """Fit the modality encoders and write the rows of all users."""
        prepare(inputs, config, folder, progress)

    def trainee(self, folder: Path, config: AutoencoderConfig, device: torch.device) -> AutoencoderTrainee:
        return AutoencoderTrainee(PreparedRows(folder), config, device)

    @torch.no_grad()
    def finish(
        self,
        folder: Path,
        config: AutoencoderConfig,
        weights: Mapping[str, torch.Tensor],
        inputs: TrainingInputs,
        progress: Progress,
    ) -> Content:
        """Give z its coordinates and standardise it over the training users; the prior is their mean vector."""
        progress("encoding users", 0, 1)
        prepared = PreparedRows(folder)
        model = Autoencoder(prepared.layout.blocks, config.dimension, config.hidden)
        model.load_state_dict(dict(weights))
        model.eval()
        settle(model, prepared.layout.blocks, map(torch.from_numpy, prepared.chunks()), config)
        z = np.concatenate([model.compress(rows).numpy() for rows in map(torch.from_numpy, prepared.chunks())])
        model.z_mean.copy_(torch.from_numpy(z.mean(axis=0, dtype=np.float64)))
        deviation = z.std(axis=0, dtype=np.float64)
        model.z_scale.copy_(torch.from_numpy(np.where(deviation > 1e-6, deviation, 1)))
        vectors = np.concatenate([model.encode(rows).numpy() for rows in map(torch.from_numpy, prepared.chunks())])
        progress("encoding users", 1, 1)
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        prior = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        hidden = list(config.hidden)
        return block_content(
            self.name, self.revision, config.dimension, inputs, prepared, tensors, prior, hidden=hidden
        )

    def representation(self, content: Content, device: str) -> "AutoencoderRepresentation":
        return AutoencoderRepresentation(content, device)


class AutoencoderRepresentation:
    """A trained autoencoder: blocks on the CPU, the network on the device."""

    def __init__(self, content: Content, device: str) -> None:
        self.rows = RowBuilder.of_artifact(content)
        layout = self.rows.layout
        self.model = Autoencoder(layout.blocks, content.dimension, tuple(content.document["hidden"]))
        weights = {name: torch.from_numpy(tensor) for name, tensor in content.weights.items() if name != PRIOR}
        self.model.load_state_dict(weights)
        self.device = torch.device(device)
        self.window_days = layout.windows_days
        self.model.eval().requires_grad_(False).to(self.device)
        self._weight_bytes = sum(t.nbytes for t in content.weights.values())

    @property
    def nbytes(self) -> int:
        """Memory of weights, item vectors and text encoder."""
        return self._weight_bytes + self.rows.nbytes

    def represent(self, users: pa.Table, as_of: Int64) -> tuple[Float32, Bool]:
        """Vectors [n, dimension], and bool [n]: whether the user has any block."""
        rows = self.rows.build(users, as_of)
        with torch.inference_mode():
            vectors: Float32 = self.model.encode(torch.from_numpy(rows).to(self.device)).cpu().numpy()
        return vectors, np.asarray(~np.isnan(rows).all(axis=1))

    def learn(self, items: pa.Table) -> None:
        """Learn the items that are not known yet, each from the first of its rows that gives it a vector."""
        self.rows = self.rows.with_items(items)
