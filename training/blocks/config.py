"""Configuration of the blocks, which families that read them share."""

from collections.abc import Callable
from dataclasses import dataclass

from portrait.training.blocks.blocks import Pooling


@dataclass(frozen=True)
class BlockConfig:
    """What a user's row holds, and how items get their vectors; the defaults are the measured ones of docs/log.md."""

    windows_days: tuple[int, ...] = (7, 30, 180)  # GUR: one week, one month, six months
    all_time: bool = True  # a window without an end beside them
    latest_decay: float = 0.6  # in the block of the latest items: weight of a moment beside the next; 0: no such block
    regularity: bool = True  # gaps, active days and decayed counts, and recency and counts of each action and service
    item_dimension: int = 80  # of the collaborative, the latent and the text encoder; 0: items are not looked at
    pooling: str = "root"  # of item vectors: "mean" as in GUR, or sums over the root of their number
    cooccurrence_window: int = 10  # events of a user that stand so near count as seen together
    min_item_users: int = 2  # rarer items have no collaborative and no latent vector
    max_items: int = 100_000  # with such vectors; the most used ones
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError with the first value that cannot work."""
        self._require("cooccurrence_window min_item_users max_items", lambda value: value > 0, "be positive")
        self._require("latest_decay", lambda value: 0 <= value < 1, "be at least 0 and below 1")
        self._require("item_dimension seed", lambda value: value >= 0, "not be negative")
        if self.pooling not in list(Pooling):
            raise ValueError(f"pooling={self.pooling} is none of {', '.join(Pooling)}")
        windows = self.windows_days
        if not windows or min(windows) <= 0 or list(windows) != sorted(set(windows)):
            raise ValueError(f"windows_days={windows} must be positive and growing")

    def _require(self, names: str, fits: Callable[[float], bool], must: str) -> None:
        for name in names.split():
            if not fits(getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)} must {must}")
