"""Adapters: public data sets to canonical tables. A new one is a module with `convert`, and a line in ADAPTERS."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from portrait.registry.errors import InvalidInput

if TYPE_CHECKING:  # the command line takes its choices from here, and imports nothing heavy
    from portrait.feature_repo.ingest.adapters.conversion import CanonicalFiles

ADAPTERS = {
    "online-retail": "portrait.feature_repo.ingest.adapters.online_retail",
    "lastfm": "portrait.feature_repo.ingest.adapters.lastfm",
    "amazon": "portrait.feature_repo.ingest.adapters.amazon",
    "sequences": "portrait.feature_repo.ingest.adapters.sequences",
}
"""By the name that `portrait import` takes, the module whose `convert(path, folder)` writes the canonical files."""


def convert(dataset: str, path: Path, out_dir: Path) -> "CanonicalFiles":
    """Convert a public data set; raises InvalidInput for an unknown one or for a path that does not hold it."""
    if dataset not in ADAPTERS:
        raise InvalidInput(f"there is no adapter {dataset!r}: choose one of {', '.join(ADAPTERS)}")
    files: CanonicalFiles = import_module(ADAPTERS[dataset]).convert(path, out_dir)
    return files
