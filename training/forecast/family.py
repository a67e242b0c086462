"""The `forecast` family: preparation, solution, artifact and loading."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from portrait.registry.progress import Progress
from portrait.training.blocks.prepare import PreparedRows, prepare
from portrait.training.blocks.row_builder import RowBuilder, block_content
from portrait.training.blocks.standard_rows import StandardRows
from portrait.training.encoding.arrays import Bool, Float32, Float64, Int64
from portrait.training.encoding.artifact import Content
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.forecast.config import ForecastConfig
from portrait.training.forecast.solution import code_shares, solve
from portrait.training.runs.config_overrides import config_from_json, override
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.runs.training_loop import Schedule

SOLUTION = "solution.safetensors"


class ForecastFamily:
    """A linear map of a user's blocks, solved in closed form for what they tell of the user and of the weeks after."""

    name = "forecast"
    revision = 1
    reads_fields = True
    descends = False

    def configure(self, overrides: Mapping[str, str]) -> ForecastConfig:
        return override(ForecastConfig(), overrides)

    def config_from_json(self, document: Mapping[str, Any]) -> ForecastConfig:
        return config_from_json(ForecastConfig, document)

    def prepare(self, inputs: TrainingInputs, config: ForecastConfig, folder: Path, progress: Progress) -> None:
        """Fit the modality encoders, write the rows of all users, and solve."""
        prepare(inputs, config, folder, progress)
        prepared = PreparedRows(folder)
        tensors = {name: prepared.standardisation[name] for name in ("row_mean", "row_scale")}
        tensors |= {"code_shares": code_shares(prepared)}
        rows = StandardRows(prepared.layout.blocks, tensors, tensors["code_shares"])
        found = solve(inputs, prepared, rows, config, progress)
        tensors |= {name: getattr(found, name) for name in ("known", "cold", "middle")}
        tensors |= {"cold_events": np.array([config.cold_events], np.float32)}
        tensors |= {"unforecast": np.array([found.unforecast], np.float32)}
        save_tensors(tensors, folder / SOLUTION)

    def trainee(self, folder: Path, config: ForecastConfig, device: torch.device) -> "Solved":
        return Solved(load_file(folder / SOLUTION))

    def finish(
        self,
        folder: Path,
        config: ForecastConfig,
        weights: Mapping[str, Tensor],
        inputs: TrainingInputs,
        progress: Progress,
    ) -> Content:
        """The solution as it is; the prior is the mean vector of the training users."""
        prepared = PreparedRows(folder)
        tensors = {name: weights[name].numpy() for name in weights if name != "unforecast"}
        vectors = LinearMap(StandardRows(prepared.layout.blocks, tensors, tensors["code_shares"]), tensors)
        total, done = np.zeros(config.dimension), 0
        for rows in prepared.chunks():
            total += vectors.encode(rows).sum(axis=0, dtype=np.float64)
            done += len(rows)
            progress("encoding users", done, len(prepared.rows))
        prior = (total / len(prepared.rows)).astype(np.float32)
        return block_content(self.name, self.revision, config.dimension, inputs, prepared, tensors, prior)

    def representation(self, content: Content, device: str) -> "ForecastRepresentation":
        return ForecastRepresentation(content)


class Solved:
    """The solution in the form of a trainee with nothing to descend: the loop stores it and tells how good it is."""

    def __init__(self, tensors: Mapping[str, Float32]) -> None:
        self.model = nn.Module()
        for name, values in tensors.items():
            self.model.register_buffer(name, torch.from_numpy(values))
        self.schedule, self.steps = Schedule(epochs=0, patience=0, learning_rate=0.0, seed=0), 0
        self.optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))])

    def batches(self, epoch: int, rank: int, world: int) -> Iterator[Tensor]:
        """None."""
        yield from ()

    def backward(self, batch: Tensor) -> Tensor:
        """Never called: there are no batches."""
        raise AssertionError("a closed form has no batches")

    def held_out_loss(self) -> float:
        """Share of the variance of what was forecast that was left over on held-out users; 1 without a forecast."""
        return float(self.model.get_buffer("unforecast"))


class LinearMap:
    """Rows to vectors: what is known, and, as far as there are few events, what profile and picks tell of them."""

    def __init__(self, rows: StandardRows, tensors: Mapping[str, Float32]) -> None:
        self.rows = rows
        self.known, self.cold, self.middle = tensors["known"], tensors["cold"], tensors["middle"]
        self.cold_events = float(tensors["cold_events"][0])
        self._has_cold = bool(self.cold.any())

    def encode(self, rows: Float32) -> Float32:
        """[n, dimension] float32 of rows [n, width]."""
        x = self.rows.standardised(rows)
        z: Float32 = x @ self.known - self.middle
        if self._has_cold:
            share: Float64 = self.cold_events / (self.cold_events + self.rows.events(rows))
            z += share.astype(np.float32)[:, None] * (x @ self.cold)
        return z


class ForecastRepresentation:
    """A solved version: blocks, then one matrix product, on the CPU."""

    def __init__(self, content: Content) -> None:
        self.rows = RowBuilder.of_artifact(content)
        blocks = self.rows.layout.blocks
        self.map = LinearMap(StandardRows(blocks, content.weights, content.weights["code_shares"]), content.weights)
        self.window_days = self.rows.layout.windows_days
        self._weight_bytes = sum(tensor.nbytes for tensor in content.weights.values())

    @property
    def nbytes(self) -> int:
        """Memory of weights, item vectors and text encoder."""
        return self._weight_bytes + self.rows.nbytes

    def represent(self, users: pa.Table, as_of: Int64) -> tuple[Float32, Bool]:
        """Vectors [n, dimension], and bool [n]: whether the user has any block."""
        rows = self.rows.build(users, as_of)
        return self.map.encode(rows), np.asarray(~np.isnan(rows).all(axis=1))

    def learn(self, items: pa.Table) -> None:
        """Learn the items that are not known yet, each from the first of its rows that gives it a vector."""
        self.rows = self.rows.with_items(items)
