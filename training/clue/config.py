"""Configuration of CLUE."""

from dataclasses import dataclass

from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.sizes import SIZES, Size


@dataclass(frozen=True)
class ClueConfig:
    """Everything about a run that is not data; the defaults are the measured ones of docs/log.md."""

    size: str = "micro"  # of portrait.training.clue.sizes: both transformers, and how such a model is trained
    objective: str = "cross_service"
    dimension: int = 64  # "hardly matters: choose it for storage" (CLUE)
    vocabulary: int = 8192  # tokens of the byte-level BPE, at most
    text_length: int = 24  # tokens of an item; what is beyond is cut off
    sequence_length: int = 64  # events of a service, the newest
    batch_size: int = 0  # users of all workers together; 0: the size's own
    learning_rate: float = 0.0  # 0: the size's own
    chunk: int = 0  # tokens or events with graphs in memory at once, so that batches may grow; 0: all of them
    categories: int = 64  # clusters of item texts, for the objective that predicts them
    epochs: int = 12  # 0 leaves the weights random: the baseline that training has to beat
    epoch_steps: int = 50  # at least; a small population is passed several times an epoch
    patience: int = 3  # epochs without a better held-out loss before training stops
    held_out: float = 0.1  # share of users that only the early stopping sees, and
    candidates: int = 1024  # how many they are at most: the loss depends on the number of negatives
    most_users: int = 0  # to train on; 0: all that are not held out
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError with the first value that cannot work."""
        if self.size not in SIZES:
            raise ValueError(f"size={self.size} is none of {', '.join(SIZES)}")
        if self.objective not in list(ObjectiveName):
            raise ValueError(f"objective={self.objective} is none of {', '.join(ObjectiveName)}")
        for name in ["dimension", "text_length", "sequence_length", "epoch_steps", "patience"]:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        for name in ["learning_rate", "chunk", "epochs", "seed"]:
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        for name in ["batch_size", "most_users"]:
            if getattr(self, name) < 0 or getattr(self, name) == 1:
                raise ValueError(
                    f"{name}={getattr(self, name)} must be 0 or at least 2: users are compared with each other"
                )
        for name, least in (("vocabulary", 257), ("categories", 2), ("candidates", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out={self.held_out} must be at least 0 and below 1")

    @property
    def shape(self) -> Size:
        return SIZES[self.size]

    @property
    def users_per_step(self) -> int:
        """Users of a step, of all workers together."""
        return self.batch_size or self.shape.batch

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate or self.shape.learning_rate
