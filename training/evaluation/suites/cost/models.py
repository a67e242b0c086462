"""The models that are compared: a registered version, and models that are trained for this suite alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from portrait.feature_repo.log.event_log import EventLog
from portrait.registry.database.tables import VersionState
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.encoding.later_items import NewItems
from portrait.training.runs.run import train
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class MeasuredModel:
    """A representation whose vectors are measured."""

    name: str  # id of the version, or family and dimension
    family: str
    fingerprint: str
    dimension: int
    artifact: str  # the folder's path
    train_seconds: float

    @classmethod
    def from_version(cls, version: EmbeddingVersion, home: Path) -> "MeasuredModel":
        """The model of a registered version, with the seconds of training that the registry has."""
        artifact, seconds = str(home / version.artifact), version.metrics.get("seconds", 0.0)
        return cls(version.id, version.family, version.fingerprint, version.dimension, artifact, seconds)

    def encoder(self, log: EventLog) -> Encoder:
        """A fresh encoder that knows all items of the log."""
        encoder = load_encoder(Path(self.artifact), self.fingerprint)
        NewItems(log).bring(encoder)
        return encoder

    def as_version(self) -> EmbeddingVersion:
        """A record as the registry would have it, for the suite's own views and readers."""
        return EmbeddingVersion(
            id=f"{self.family}-{self.dimension}",
            family=self.family,
            number=self.dimension,
            fingerprint=self.fingerprint,
            dimension=self.dimension,
            state=VersionState.READY,
            failure=None,
            run="",
            artifact=self.artifact,
            parent=None,
            snapshot="",
            data_from=None,
            data_to=EPOCH,
            feature_schema={},
            config={},
            metrics={},
            code_revision="",
            created_at=EPOCH,
            last_as_of=None,
        )


def train_model(
    family: str,
    dimension: int,
    overrides: Sequence[str],
    inputs: TrainingInputs,
    exclude: Sequence[str],
    folder: Path,
    settings: TrainingSettings,
    progress: Progress,
) -> MeasuredModel:
    """Train one in a folder, without registering it; killed, it goes on from its last checkpoint."""
    here = settings.model_copy(update={"home": folder})
    recipe = [*(text for text in overrides if not text.startswith("dimension=")), f"dimension={dimension}"]
    made = train(family, recipe, replace(inputs, exclude=tuple(exclude)), here, progress)
    return MeasuredModel(
        f"{family}, {dimension}", family, made.fingerprint, made.dimension, str(made.path), made.seconds
    )
