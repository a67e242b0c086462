"""The template instance: made once and copied for each round, with two versions that a consumer each reads."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from portrait.infra.jobs.versions import train_version
from portrait.infra.settings import Settings
from portrait.serving.gateway.serve_environment import free_port
from portrait.training.backfill.backfill import backfill
from tests.instances import TINY, embedded, with_generated_users
from tests.torture.databases import Databases
from tests.torture.processes import RedisServer

USERS = 300
HISTORY_LENGTH = 24
"""Events of a service that a user keeps: few, so that old ones have to leave."""

CONSUMERS = ("ranker", "churn")
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where an instance lies: home, the folder of its Redis, and its databases unless they are SQLite in the home."""

    folder: Path
    databases: Databases | None = None

    @property
    def home(self) -> Path:
        """PORTRAIT_HOME."""
        return self.folder / "home"

    @property
    def redis(self) -> Path:
        """Where Redis keeps its file."""
        return self.folder / "redis"

    @property
    def scratch(self) -> Path:
        """For what Ray leaves behind."""
        return self.folder / "tmp"

    @property
    def output(self) -> Path:
        """What `portrait serve` prints."""
        return self.folder / "serve.log"

    def copy_of(self, source: "Place") -> None:
        """Be a copy of an instance that does not run."""
        for theirs, ours in ((source.home, self.home), (source.redis, self.redis)):
            shutil.copytree(theirs, ours, dirs_exist_ok=True)
        self.create()
        if self.databases is not None:
            assert source.databases is not None
            self.databases.copy_of(source.databases)

    def create(self) -> None:
        """Make the folders that are missing."""
        for folder in (self.home, self.redis, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    def settings(self, online: str) -> Settings:
        """The instance's settings over a Redis that runs."""
        changes: dict[str, object] = {"online_store_url": online, "history_length": HISTORY_LENGTH}
        if self.databases is not None:
            changes["registry_url"] = self.databases.url(self.databases.registry)
            changes["feast_registry_url"] = self.databases.url(self.databases.feast)
        return embedded(self.home, seal_rows=100, seal_seconds=20.0, host=HOST, **changes)


def make(place: Place) -> None:
    """Generated users, two small models, everybody's vectors online at both, and a consumer that reads each."""
    place.create()
    if place.databases is not None:
        place.databases.create()
    server = RedisServer(place.redis, free_port(HOST))
    server.start()
    try:
        with with_generated_users(place.settings(server.url), place.folder / "generated", USERS) as portrait:
            for seed, consumer in enumerate(CONSUMERS):
                version = train_version(portrait, "autoencoder", overrides=[*TINY, f"seed={seed}"])
                backfill(portrait.repo, version.id, portrait.settings)
                portrait.registry.consumers.add(consumer, "torture", consumer)
                portrait.operations.promote("torture", consumer, version.id, "to be read")
            portrait.repo.apply()
    finally:
        server.stop()
