"""Configuration of the autoencoder."""

from dataclasses import dataclass

from portrait.training.blocks.config import BlockConfig


@dataclass(frozen=True)
class AutoencoderConfig(BlockConfig):
    """Everything about a run that is not data; the defaults are the measured ones of docs/log.md."""

    all_time: bool = False  # its defaults were measured without these blocks: docs/log.md
    regularity: bool = False
    dimension: int = 120  # of z; the paper's only public reimplementation has 120
    hidden: tuple[int, ...] = (256,)  # widths between blocks and z, mirrored in the decoder
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

    def __post_init__(self) -> None:
        """Raise ValueError with the first value that cannot work."""
        super().__post_init__()
        positive = "dimension numbers_weight numbers_distance category_distance batch_size learning_rate epoch_steps"
        self._require(f"{positive} patience", lambda value: value > 0, "be positive")
        self._require("block_dropout cold_start held_out", lambda value: 0 <= value < 1, "be at least 0 and below 1")
        self._require("latent_noise weight_decay epochs", lambda value: value >= 0, "not be negative")
        if not self.hidden or min(self.hidden) <= 0:
            raise ValueError(f"hidden={self.hidden} must name positive widths")
