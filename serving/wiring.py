"""The real parts of a gateway, put together from settings: what a replica builds, and `portrait get`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feature_repo.log.event_log import EventLog
from feature_repo.online.redis import PortraitRedisOnlineStore
from feature_repo.store import FeatureRepo
from registry.records import EmbeddingVersion, Promotion
from registry.registry import Registry
from serving.assignments import Assignments, RegistrySource
from serving.encoders import Encoder, EncoderCache
from serving.parts import Parts
from serving.reader import EmbeddingReader
from serving.settings import ServingSettings


@dataclass(frozen=True)
class StoredRegistry:
    """The registry's rare queries."""

    registry: Registry

    def history(self, consumer: str) -> Sequence[Promotion]:
        """Promotions of a consumer, oldest first."""
        return self.registry.promotions.history(consumer)

    def versions(self) -> Sequence[EmbeddingVersion]:
        """Every version."""
        return self.registry.versions.list()

    def version(self, version: str) -> EmbeddingVersion:
        """One version; raises NotFound."""
        return self.registry.versions.get(version)


def build_parts(settings: ServingSettings) -> Parts:
    """The real parts over the configured registry and stores."""
    registry = Registry.open(settings.database_url)
    repo = open_repo(settings, registry)
    asynchronous = isinstance(repo.online, PortraitRedisOnlineStore)
    read_async = repo.read_vectors_async if asynchronous else None
    return Parts(build_reader(settings, registry, repo), StoredRegistry(registry), read_async)


def build_reader(settings: ServingSettings, registry: Registry, repo: FeatureRepo) -> EmbeddingReader:
    """A reader over the configured stores; whoever builds it refreshes or starts its assignments."""
    assignments = Assignments(RegistrySource(registry.database), settings.poll_seconds)
    return EmbeddingReader(repo, assignments, EncoderCache(lambda version: _load(settings.home, version)))


def open_repo(settings: ServingSettings, registry: Registry) -> FeatureRepo:
    """The feature repo of these settings."""
    return FeatureRepo(settings, registry, EventLog(registry.database, settings))


def _load(home: Path, version: EmbeddingVersion) -> Encoder:
    from training.encoder import load_encoder  # torch takes seconds to import, and stored vectors need none of it

    return load_encoder(home / version.artifact, version.fingerprint)
