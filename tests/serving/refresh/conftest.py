"""One instance for all tests of the refresh: they bring users of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from portrait.feature_repo.log.partition import BUCKETS
from portrait.infra.portrait import Portrait
from tests.instances import copy_of, embedded
from tests.serving.refresh.followed_instance import BOTH, LENGTH, Followed, embed, make

AT_ONCE = 1e-6
"""Seconds: versions that are refreshed in batches have a batch in every round."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with two versions, the first backfilled and read by `ranker`. Copy it, change nothing in it."""
    folder = tmp_path_factory.mktemp("followed")
    make(embedded(folder / "home", history_length=LENGTH), folder / "generated")
    return folder / "home"


@pytest.fixture(autouse=True)
def no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done counts as settled at once, so that nothing is done again which would make up for a mistake."""
    monkeypatch.setattr("portrait.serving.refresh.held_buckets.DOUBT_SECONDS", 0.0)


@pytest.fixture(scope="session")
def shared(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    """An instance for all tests that bring users of their own. Both versions are ready: one eager, one lazy."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with copy_of(template, home, history_length=LENGTH, lazy_seconds=AT_ONCE) as portrait:
        yield both_ready(portrait)


@pytest.fixture
def followed(template: Path, tmp_path: Path) -> Iterator[Followed]:
    """An instance of one's own, with the second version only registered."""
    with copy_of(template, tmp_path / "home", history_length=LENGTH, lazy_seconds=AT_ONCE) as portrait:
        yield Followed(portrait)


@pytest.fixture
def on_redis(template: Path, tmp_path: Path, redis_url: str) -> Iterator[Followed]:
    """Another on Redis, with both versions ready."""
    settings = {"history_length": LENGTH, "lazy_seconds": AT_ONCE, "online_store_url": redis_url}
    with copy_of(template, tmp_path / "home", **settings) as portrait:
        for bucket in range(BUCKETS):
            portrait.repo.publish_bucket(bucket, 0)
        embed(portrait, "autoencoder-1")
        yield both_ready(portrait)


def both_ready(portrait: Portrait) -> Followed:
    embed(portrait, BOTH[1])
    return Followed(portrait)
