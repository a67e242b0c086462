"""The autoencoder with random weights: its blocks through a network that has learnt nothing.

Its distance from the trained one is what training adds (random features: Rahimi & Recht, NeurIPS'07).
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from portrait.training.baselines.baseline import Suits
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.runs.run import train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings

FAMILY = "autoencoder"


@dataclass(frozen=True)
class EncoderFeatures:
    """The vectors of an encoder."""

    encoder: Encoder

    def matrix(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """Vectors [n, dimension]; the prior for users of whom nothing is known."""
        return self.encoder.encode(users, as_of)


class RandomEncoder:
    """Preprocessing as for a version, then no training."""

    name = "random-encoder"
    suits = Suits.LINEAR

    def fit(self, inputs: TrainingInputs, seed: int) -> EncoderFeatures:
        with tempfile.TemporaryDirectory() as folder:
            here = TrainingSettings(home=Path(folder), num_workers=0)
            model = train(FAMILY, ["epochs=0", f"seed={seed}"], inputs, here)
            return EncoderFeatures(load_encoder(model.path))
