"""The claims of GUR about its representation and other methods, with the built-in tasks that ask the same here."""

from dataclasses import dataclass
from enum import StrEnum


class Table(StrEnum):
    """The paper's tables."""

    ESTABLISHED = "established users"
    NEW = "new users"
    NEIGHBOURS = "neighbours"
    ABLATION = "ablations"


class Variant(StrEnum):
    """The representation without a part of it, trained like the whole one."""

    NO_ITEMS = "without modality encoders"
    NO_ONBOARDING = "without onboarding"
    NO_STATIC = "without static fields"


@dataclass(frozen=True)
class Claim:
    """The representation's relative gain in a metric over another method."""

    table: Table
    asked: str
    tasks: tuple[str, ...]  # built-in ones, each of its own data
    metric: str
    than: str  # a baseline, or a Variant
    gain: float  # the paper's


WEEK = ("online_retail_buys", "generated_plays")
FIRST, BLIND = ("generated_first_days",), ("generated_first_days_blind",)
TASTE, COUNTRY = ("generated_taste",), ("country_near",)
AREA, NEAREST = "auc_by_user", "ndcg@50"


def _gain_from_loss(share: float) -> float:
    """The relative gain of the whole over a variant that loses this share of the metric."""
    return 1 / (1 - share) - 1


CLAIMS = (
    *(
        Claim(Table.ESTABLISHED, "which items within 7 days", WEEK, AREA, than, gain)
        for than, gain in (
            ("nmf", 0.186),
            ("pmf", 0.127),
            ("vae-cf", 0.057),
            ("lightfm", 0.039),
            ("dlrm", 0.028),
            ("mean-items", 0.016),
        )
    ),
    Claim(Table.NEW, "first hours, onboarding done", FIRST, AREA, "popularity", 0.270),
    Claim(Table.NEW, "first hours, onboarding done", FIRST, AREA, "mean-onboarding", 0.051),
    Claim(Table.NEW, "first hours, onboarding not done", BLIND, AREA, "popularity", 0.247),
    Claim(Table.NEIGHBOURS, "same favourites", TASTE, NEAREST, "mean-items", 0.029),
    Claim(Table.NEIGHBOURS, "same country", COUNTRY, NEAREST, "mean-items", 0.055),
    Claim(Table.ABLATION, "which items within 7 days", WEEK, AREA, Variant.NO_ITEMS, _gain_from_loss(0.042)),
    Claim(Table.ABLATION, "same favourites", TASTE, NEAREST, Variant.NO_ITEMS, _gain_from_loss(0.371)),
    # The paper measures neighbours of one onboarding cluster; there are no such clusters here, but new users.
    Claim(Table.ABLATION, "first hours, onboarding done", FIRST, AREA, Variant.NO_ONBOARDING, _gain_from_loss(0.138)),
    Claim(Table.ABLATION, "same country", COUNTRY, NEAREST, Variant.NO_STATIC, _gain_from_loss(0.121)),
)
