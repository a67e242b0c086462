"""The composition of one Portrait instance: its parts, built on first use and handed down by constructor."""

from functools import cached_property
from typing import TYPE_CHECKING, Self

from portrait.infra.settings import Settings
from portrait.registry.database.database import Database
from portrait.registry.registry import Registry

if TYPE_CHECKING:  # imported on first use below: Feast alone takes seconds
    from portrait.feature_repo.log.event_log import EventLog
    from portrait.feature_repo.store.feature_repo import FeatureRepo
    from portrait.serving.operations.operations import Operations
    from portrait.serving.reads.reader import EmbeddingReader


class Portrait:
    """The parts of one instance, composed from its settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @classmethod
    def open(cls, settings: Settings | None = None) -> Self:
        """An instance whose registry is at the newest schema.

        Raises RegistryMissing or RegistryBehind when `portrait apply` has to run first.
        """
        portrait = cls(settings or Settings())
        portrait.database.require_current()
        return portrait

    @classmethod
    def prepare(cls, settings: Settings | None = None) -> Self:
        """An instance whose home exists and whose registry has been migrated to the newest schema."""
        from portrait.infra.migrations import upgrade

        portrait = cls(settings or Settings())
        portrait.settings.home.mkdir(parents=True, exist_ok=True)
        upgrade(portrait.database)
        return portrait

    @cached_property
    def database(self) -> Database:
        """The SQL database of registry and log manifest."""
        return Database(self.settings.database_url)

    @cached_property
    def registry(self) -> Registry:
        """The registry, acting for the `actor` of the settings."""
        return Registry(self.database, self.settings.actor)

    @cached_property
    def log(self) -> "EventLog":
        """The event log with the profiles and the catalogue."""
        from portrait.feature_repo.log.event_log import EventLog

        return EventLog(self.database, self.settings)

    @cached_property
    def repo(self) -> "FeatureRepo":
        """The feature repo: the one seam to Feast."""
        from portrait.feature_repo.store.feature_repo import FeatureRepo

        return FeatureRepo(self.settings, self.registry, self.log)

    @cached_property
    def reader(self) -> "EmbeddingReader":
        """The reader of `portrait get`, with the newest assignments; a gateway has one like it."""
        from portrait.serving.gateway.build import build_reader

        reader = build_reader(self.settings, self.registry, self.repo)
        reader.assignments.refresh()
        if reader.watch is not None:
            reader.watch.look()
        return reader

    @cached_property
    def operations(self) -> "Operations":
        """The operations on the instance, as the command line and the gateway call them."""
        from portrait.serving.operations.operations import Operations

        return Operations(self.registry, self.repo, self.repo.apply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if "repo" in self.__dict__:
            self.repo.close()
        self.database.close()
