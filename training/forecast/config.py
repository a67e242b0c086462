"""Configuration of the forecast family."""

from dataclasses import dataclass

from portrait.training.blocks.config import BlockConfig


@dataclass(frozen=True)
class ForecastConfig(BlockConfig):
    """Everything about a run that is not data; the defaults are the measured ones of docs/log.md.

    Weights say how much room a part gets among the coordinates, distances how far it puts two users apart.
    """

    dimension: int = 120
    horizons_days: tuple[int, ...] = (7, 30, 90)  # what is forecast: events, weight, days and actions within them
    cuts: int = 4  # moments in the past from which the future is known, the longest horizon apart
    directions: int = 120  # of item vectors that tell users apart, at most
    noise: float = 0.05  # added to the noise within users, as a share of all variance of their item vectors
    ridge: float = 0.3  # of the forecast, as a share of the mean variance of what it is made from
    numbers_weight: float = 30.0  # of a block of numbers, beside 1 of each direction of item vectors
    category_weight: float = 10.0
    future_weight: float = 300.0  # of all numbers that are forecast
    next_weight: float = 3.0  # of each direction of the items that are forecast
    numbers_distance: float = 1.0  # of a block of numbers, beside 3 of all directions of item vectors
    category_distance: float = 0.3
    cold_events: float = 3.0  # a user with as many events is told half by them, half by profile and picks
    held_out: float = 0.1  # share of users on whom the forecast is measured

    def __post_init__(self) -> None:
        """Raise ValueError with the first value that cannot work."""
        super().__post_init__()
        weights = "numbers_weight category_weight numbers_distance category_distance noise ridge cold_events"
        self._require(f"dimension directions {weights}", lambda value: value > 0, "be positive")
        self._require("cuts future_weight next_weight", lambda value: value >= 0, "not be negative")
        self._require("held_out", lambda value: 0 < value < 1, "be above 0 and below 1")
        horizons = self.horizons_days
        if not horizons or min(horizons) <= 0 or list(horizons) != sorted(set(horizons)):
            raise ValueError(f"horizons_days={horizons} must be positive and growing")
