"""Families of representation models and their interfaces. A new one is a class that fits `Family` and a line here."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portrait.registry.errors import NotFound

if TYPE_CHECKING:  # the command line takes its choices from here, and imports nothing heavy
    import pyarrow as pa
    import torch

    from portrait.registry.progress import Progress
    from portrait.training.encoding.arrays import Bool, Float32, Int64
    from portrait.training.encoding.artifact import Content
    from portrait.training.runs.training_inputs import TrainingInputs
    from portrait.training.runs.training_loop import Trainee

FAMILIES = {
    "autoencoder": "portrait.training.autoencoder.family:AutoencoderFamily",
    "clue": "portrait.training.clue.family:ClueFamily",
    "forecast": "portrait.training.forecast.family:ForecastFamily",
}


class Representation(Protocol):
    """A family's model, loaded: users to vectors."""

    @property
    def nbytes(self) -> int:
        """Memory of weights, item vectors and text encoder."""
        ...

    @property
    def window_days(self) -> tuple[int, ...]:
        """Lengths of the windows before the as-of time that the model looks at; empty when it has none."""
        ...

    def represent(self, users: "pa.Table", as_of: "Int64") -> "tuple[Float32, Bool]":
        """Vectors [n, dimension], and bool [n]: whether anything is known of the user as of the time."""
        ...

    def learn(self, items: "pa.Table") -> None:
        """Learn these rows of the catalogue; items that are known already do not change.

        Called by one thread at a time, while others represent users.
        """
        ...


class Family(Protocol):
    """A kind of representation model, as training, artifacts and encoding use it. `config` is its frozen dataclass."""

    name: str
    revision: int  # raise it when the same weights would encode to other vectors
    descends: bool  # whether training takes steps; else `prepare` solves, in this process
    reads_fields: bool  # whether its models see fields of profiles and of teams' views, beside events and picks

    def configure(self, overrides: Mapping[str, str]) -> Any:
        """The default config with `--set` overrides; raises InvalidInput naming field and value."""
        ...

    def config_from_json(self, document: Mapping[str, Any]) -> Any:
        """The config whose fields a JSON document holds."""
        ...

    def prepare(self, inputs: "TrainingInputs", config: Any, folder: Path, progress: "Progress") -> None:
        """Write into the folder all that gradient descent needs; the same inputs give the same bytes."""
        ...

    def trainee(self, folder: Path, config: Any, device: "torch.device") -> "Trainee":
        """The model with its data, ready for `portrait.training.runs.training_loop.fit`; called in every worker."""
        ...

    def finish(
        self,
        folder: Path,
        config: Any,
        weights: Mapping[str, "torch.Tensor"],
        inputs: "TrainingInputs",
        progress: "Progress",
    ) -> "Content":
        """The content of the artifact: the trained weights, and the prior over the training users."""
        ...

    def representation(self, content: "Content", device: str) -> "Representation":
        """The model of an artifact, ready to encode."""
        ...


def get(name: str) -> Family:
    """The family of this name; raises NotFound naming those that exist."""
    if name not in FAMILIES:
        raise NotFound(f"there is no model family {name!r}: the families are {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    family: Family = getattr(import_module(module), attribute)()
    return family
