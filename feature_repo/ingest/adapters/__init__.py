"""Adapters: public data sets to canonical tables."""

from collections.abc import Callable
from pathlib import Path

from portrait.feature_repo.ingest.adapters import amazon, lastfm, online_retail, sequences
from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles
from portrait.registry.errors import InvalidInput

ADAPTERS: dict[str, Callable[[Path, Path], CanonicalFiles]] = {
    "online-retail": online_retail.convert,
    "lastfm": lastfm.convert,
    "amazon": amazon.convert,
    "sequences": sequences.convert,
}
"""By the name that `portrait import` takes: (path, folder for the canonical files) -> canonical files."""


def convert(dataset: str, path: Path, out_dir: Path) -> CanonicalFiles:
    """Convert a public data set; raises InvalidInput for an unknown one or for a path that does not hold it."""
    if dataset not in ADAPTERS:
        raise InvalidInput(f"there is no adapter {dataset!r}: choose one of {', '.join(ADAPTERS)}")
    return ADAPTERS[dataset](path, out_dir)


__all__ = ["ADAPTERS", "CanonicalFiles", "convert"]
