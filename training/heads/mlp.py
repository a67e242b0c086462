"""A network with one hidden layer: CLUE's "simple MLP" for classes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.heads.descent import Scale, descend
from portrait.training.heads.examples import Labelled
from portrait.training.metrics.classes import log_loss

FILE = "weights.safetensors"
WIDTH, DROPOUT = 128, 0.2


@dataclass(frozen=True)
class MlpModel:
    """A network over raw vectors, in evaluation mode."""

    network: nn.Sequential

    @torch.inference_mode()
    def scores(self, vectors: Float32) -> Float32:
        """float32 [n, classes] probabilities."""
        logits: Tensor = self.network(torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)))
        found: Float32 = logits.softmax(dim=1).numpy()
        return found

    def write(self, folder: Path) -> None:
        save_tensors({name: kept.numpy() for name, kept in self.network.state_dict().items()}, folder / FILE)


class Mlp:
    """The kind "mlp"."""

    examples = Labelled

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> MlpModel:
        """Fit to the epoch with the best log loss on the validation users; without any, on the training users."""
        train, validation = train.known(), validation.known()
        chosen_by = validation if len(validation) else train
        torch.manual_seed(seed)
        network, scale = _network(train.vectors.shape[1], WIDTH, len(train.names)), Scale.from_vectors(train.vectors)
        vectors, codes = torch.from_numpy(scale.apply(train.vectors)), torch.from_numpy(train.codes)
        held = scale.apply(chosen_by.vectors)
        model = MlpModel(network)
        descend(
            network,
            len(train),
            lambda rows: cross_entropy(network(vectors[rows]), codes[rows]),
            lambda: -log_loss(model.scores(held), chosen_by.codes),
            seed,
        )
        scale.fold_into(network[0])
        return model

    def load(self, folder: Path) -> MlpModel:
        """The model of a safetensors file; its shapes give the width."""
        weights = load_file(folder / FILE)
        width, dimension = weights["0.weight"].shape
        network = _network(dimension, width, len(weights["3.bias"]))
        network.load_state_dict(weights)
        return MlpModel(network.eval())


def _network(dimension: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dimension, width), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(width, classes))
