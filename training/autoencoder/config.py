"""Configuration of the autoencoder."""

from dataclasses import dataclass

from portrait.training.autoencoder.blocks import Pooling


@dataclass(frozen=True)
class AutoencoderConfig:
    """Everything about a run that is not data; the defaults are the measured ones of docs/log.md."""

    dimension: int = 120  # of z; the paper's only public reimplementation has 120
    hidden: tuple[int, ...] = (256,)  # widths between blocks and z, mirrored in the decoder
    windows_days: tuple[int, ...] = (7, 30, 180)  # GUR: one week, one month, six months
    latest_decay: float = 0.6  # in the block of the latest items: weight of a moment beside the next; 0: no such block
    item_dimension: int = 80  # of the collaborative, the latent and the text encoder; 0: items are not looked at
    pooling: str = "root"  # of item vectors: "mean" as in GUR, or sums over the root of their number
    cooccurrence_window: int = 10  # events of a user that stand so near count as seen together
    min_item_users: int = 2  # rarer items have no collaborative and no latent vector
    max_items: int = 100_000  # with such vectors; the most used ones
    block_dropout: float = 0.2  # share of blocks that corruption hides
    cold_start: float = 0.1  # share of rows that lose all behaviour, and of those left with one modality: new ones
    latent_noise: float = 0.1  # on z while training, in units of its size: room goes to what explains most
    numbers_weight: float = 10.0  # in the loss of blocks of numbers (counts, recency, times), beside 1 of the others
    numbers_distance: float = 1.0  # their weight in the distance of vectors, beside 1 of blocks of vectors
    category_distance: float = 0.3  # that of a category, a profile field of text
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    epochs: int = 20  # 0 leaves the weights random: the baseline that training has to beat
    epoch_steps: int = 100  # at least; a small population is passed several times an epoch
    patience: int = 3  # epochs without a better held-out loss before training stops
    held_out: float = 0.1  # share of users that only the early stopping sees
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError with the first value that cannot work."""
        positive = (
            "dimension cooccurrence_window min_item_users max_items numbers_weight numbers_distance category_distance "
            "batch_size learning_rate epoch_steps patience"
        )
        for name in positive.split():
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        for name in ("latest_decay", "block_dropout", "cold_start", "held_out"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in ("item_dimension", "latent_noise", "weight_decay", "epochs", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be negative")
        if self.pooling not in list(Pooling):
            raise ValueError(f"pooling={self.pooling} is none of {', '.join(Pooling)}")
        if not self.hidden or min(self.hidden) <= 0:
            raise ValueError(f"hidden={self.hidden} must name positive widths")
        windows = self.windows_days
        if not windows or min(windows) <= 0 or list(windows) != sorted(set(windows)):
            raise ValueError(f"windows_days={windows} must be positive and growing")
