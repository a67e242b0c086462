"""Actions of other processes on an instance: promote and apply, at once or until they are killed.

They are forked from a server that has imported Feast once; starting Python for each would take seconds.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from feast.infra.registry.sql import SqlRegistry

from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store import feature_repo as store
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.registry import Registry
from tests.feature_repo.instance import promote
from tests.forks import FORKS

PLACES: dict[str, tuple[Any, str]] = {
    "before Feast is told": (store, "synchronise"),
    "in the middle of it": (SqlRegistry, "apply_feature_service"),
    "before it is recorded": (store, "record_projected"),
}
"""Where an apply dies: at its call of this function."""


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    """A process that calls the function."""
    process: BaseProcess = FORKS.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def promote_and_die(settings: FeatureSettings, version: str, consumer: str, place: str) -> None:
    """Promote a consumer to a version, and die of SIGKILL while Feast follows."""
    owner, name = PLACES[place]
    setattr(owner, name, lambda *_arguments, **_named: os.kill(os.getpid(), signal.SIGKILL))
    with opened(settings) as repo:
        promote(repo, consumer, repo.registry.versions.get(version))
        repo.apply()


def promote_and_apply(settings: FeatureSettings, version: str, consumers: list[str], together: Any) -> None:
    """Promote each consumer and apply, having waited for the others."""
    with opened(settings) as repo:
        together.wait(60)
        for consumer in consumers:
            promote(repo, consumer, repo.registry.versions.get(version))
            repo.apply()


@contextmanager
def opened(settings: FeatureSettings) -> Iterator[FeatureRepo]:
    registry = Registry.open(settings.database_url)
    repo = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    yield repo
    repo.close()
    registry.close()
