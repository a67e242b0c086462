"""Kinds of heads. A new one is a class with `examples`, `fit` and `load`, and a line in KINDS."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portrait.registry.errors import NotFound

if TYPE_CHECKING:  # the command line takes its choices from here, and imports nothing heavy
    from portrait.training.encoding.arrays import Float32

KINDS = {
    "logistic": "portrait.training.heads.logistic:Logistic",
    "mlp": "portrait.training.heads.mlp:Mlp",
    "boosting": "portrait.training.heads.boosting:Boosting",
    "two-tower": "portrait.training.heads.two_tower:TwoTower",
}


class HeadModel(Protocol):
    """A fitted model, without a record of what it was fitted on."""

    def scores(self, vectors: "Float32") -> "Float32":
        """float32 [n, classes] probabilities that sum to 1, or [n, items] scores; higher is better."""
        ...

    def write(self, folder: Path) -> None:
        """Write its files, of formats whose readers run no code."""
        ...


class HeadTrainer(Protocol):
    """Fits and loads heads of one kind."""

    examples: type  # what it learns from: Labelled or Chosen

    def fit(self, train: Any, validation: Any, seed: int) -> HeadModel:
        """Fit a model on the training users; the validation users choose its settings. Equal seeds give equal models.

        Both parts are of the type `examples`, with the same `names`; examples of no known class are left out.
        """
        ...

    def load(self, folder: Path) -> HeadModel:
        """The model that `write` left in a folder."""
        ...


def get(name: str) -> HeadTrainer:
    """The kind of this name; raises NotFound naming those that exist."""
    if name not in KINDS:
        raise NotFound(f"there is no kind of heads {name!r}: the kinds are {', '.join(sorted(KINDS))}")
    module, _, attribute = KINDS[name].partition(":")
    kind: HeadTrainer = getattr(import_module(module), attribute)()
    return kind
