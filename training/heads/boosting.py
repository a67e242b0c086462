"""Gradient boosting by LightGBM, kept as its text dump: trees as numbers, no code."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from portrait.training.encoding.arrays import Float32
from portrait.training.heads.examples import Labelled

FILE = "trees.txt"
ROUNDS, PATIENCE = 600, 30
SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_child_samples": 20,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,  # with `deterministic`: the same trees on any number of threads
    "verbosity": -1,
}


@dataclass(frozen=True)
class BoostingModel:
    """Trees as LightGBM writes them."""

    text: str

    @cached_property
    def _booster(self) -> Any:
        import lightgbm

        return lightgbm.Booster(model_str=self.text)

    def scores(self, vectors: Float32) -> Float32:
        """float32 [n, classes] probabilities."""
        found: Float32 = self._booster.predict(vectors, validate_features=False).astype(np.float32)
        return found

    def write(self, folder: Path) -> None:
        (folder / FILE).write_text(self.text)


class Boosting:
    """The kind "boosting"."""

    examples = Labelled

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> BoostingModel:
        """Fit as many trees as have the best log loss on the validation users; without any of them, 100."""
        import lightgbm

        train, validation = train.known(), validation.known()
        # Of two classes too, so that there is one column a class.
        settings = {**SETTINGS, "objective": "multiclass", "num_class": len(train.names), "seed": seed}
        data = lightgbm.Dataset(train.vectors, train.codes, free_raw_data=False)
        if not len(validation):
            return BoostingModel(lightgbm.train(settings, data, 100).model_to_string())
        held = lightgbm.Dataset(validation.vectors, validation.codes, reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        fitted = lightgbm.train(settings, data, ROUNDS, valid_sets=[held], callbacks=[stop])
        return BoostingModel(fitted.model_to_string(num_iteration=fitted.best_iteration))

    def load(self, folder: Path) -> BoostingModel:
        return BoostingModel((folder / FILE).read_text())
