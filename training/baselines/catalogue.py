"""The baselines by name. A new one is a class that fits `FeatureBaseline` or `RankingBaseline`, and a line here."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

from portrait.registry.errors import InvalidInput
from portrait.training.baselines.baseline import FeatureBaseline, RankingBaseline

FEATURES = {
    "recency": "portrait.training.baselines.window_counts:Recency",
    "rfm": "portrait.training.baselines.window_counts:Rfm",
    "mean-items": "portrait.training.baselines.mean_vectors:MeanItems",
    "mean-onboarding": "portrait.training.baselines.mean_vectors:MeanOnboarding",
    "tfidf": "portrait.training.baselines.factors:Tfidf",
    "svd": "portrait.training.baselines.factors:Svd",
    "nmf": "portrait.training.baselines.factors:Nmf",
    "pmf": "portrait.training.baselines.pmf:Pmf",
    "vae-cf": "portrait.training.baselines.vae_cf:VaeCf",
    "random-encoder": "portrait.training.baselines.random_encoder:RandomEncoder",
}
"""User features for a light head."""

RANKINGS = {
    "popularity": "portrait.training.baselines.popularity:Popularity",
    "recent-popularity": "portrait.training.baselines.popularity:RecentPopularity",
    "item-knn": "portrait.training.baselines.item_knn:DecayedItemKnn",
    "svd": "portrait.training.baselines.factors:Svd",
    "pmf": "portrait.training.baselines.pmf:Pmf",
    "vae-cf": "portrait.training.baselines.vae_cf:VaeCf",
    "lightfm": "portrait.training.baselines.lightfm:LightFm",
    "dlrm": "portrait.training.baselines.dlrm:Dlrm",
}
"""Rankers of items."""


def feature_baseline(name: str) -> FeatureBaseline:
    """The feature baseline of this name; its module is imported only now."""
    return cast(FeatureBaseline, _create(FEATURES, name))


def ranking_baseline(name: str) -> RankingBaseline:
    return cast(RankingBaseline, _create(RANKINGS, name))


def select_baselines(asked: str, known: Sequence[str]) -> list[str]:
    """The names that `all`, `none` or a comma-separated list means; raises InvalidInput for one that is not known."""
    if asked in ("all", "none"):
        return list(known) if asked == "all" else []
    names = list(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InvalidInput(
            f"--baselines {asked}: this task has no {', '.join(unknown) or 'name there'}; write all, none, or some of "
            f"{', '.join(known)}"
        )
    return names


def _create(among: Mapping[str, str], name: str) -> object:
    module, _, attribute = among[name].partition(":")
    return getattr(import_module(module), attribute)()
