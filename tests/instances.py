"""Small real instances: generated users, a model of a second's training, homes that tests copy instead of making."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portrait.infra import generator
from portrait.infra.jobs.versions import take_in, train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings

USERS = 300
TINY = ("epochs=2", "epoch_steps=5", "dimension=16", "hidden=32", "item_dimension=8")
"""Overrides of an autoencoder that trains in a second, and ..."""
TINY_CLUE = ("epochs=2", "epoch_steps=5", "dimension=16", "size=nano", "vocabulary=400", "batch_size=64")
"""... of a CLUE that does."""


def embedded(home: Path, **changes: Any) -> Settings:
    """Settings of an instance on SQLite in `home` that trains in this process, whatever the environment says."""
    nowhere = {"registry_url": "", "feast_registry_url": "", "online_store_url": "", "ray_address": ""}
    return Settings(**{"home": home, "num_workers": 0, **nowhere, **changes})


def with_generated_users(settings: Settings, folder: Path, users: int = USERS) -> Portrait:
    """An instance that has taken generated users in."""
    files = generator.generate(folder, users=users)
    portrait = Portrait.prepare(settings)
    take_in(portrait, files.events, files.items, files.users)
    return portrait


def copy_of(template: Path, home: Path, **changes: Any) -> Portrait:
    """An instance of its own with everything that the template's home holds."""
    shutil.copytree(template, home)
    portrait = Portrait.prepare(embedded(home, **changes))
    portrait.repo.apply()  # Feast's sources lie in the new home
    return portrait


def labelled_copy_of(template: Path, folder: Path) -> Portrait:
    """The same in `folder`, with the labels of its generated users."""
    portrait = copy_of(template, folder / "home")
    files = generator.generate(folder / "generated", users=USERS)
    labels = portrait.settings.home / "labels"
    labels.mkdir()
    files.labels.rename(labels / "generated.parquet")
    return portrait


def make_registered(home: Path, folder: Path, overrides: Sequence[str] = TINY) -> None:
    """A home with users, a trained version without vectors, and the consumer `ranker`."""
    with with_generated_users(embedded(home), folder) as portrait:
        train_version(portrait, "autoencoder", overrides=overrides)
        portrait.registry.consumers.add("ranker", "web", "rank the home page")
