"""The real parts of a gateway, put together from settings: what a replica builds, and `portrait get`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feature_repo.log.event_log import EventLog
from feature_repo.store import FeatureRepo
from registry.records import EmbeddingVersion, Promotion
from registry.registry import Registry
from serving.assignments import Assignments, RegistrySource
from serving.encoders import Encoder, EncoderCache
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


def build_reader(settings: ServingSettings, registry: Registry, repo: FeatureRepo | None = None) -> EmbeddingReader:
    """A reader over the configured stores; its assignments are polled by whoever starts them."""
    if repo is None:
        repo = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    assignments = Assignments(RegistrySource(registry.database), settings.poll_seconds)
    return EmbeddingReader(repo, assignments, EncoderCache(lambda version: _load(settings.home, version)))


def _load(home: Path, version: EmbeddingVersion) -> Encoder:
    from training.encoder import load_encoder  # torch takes seconds to import, and stored vectors need none of it

    return load_encoder(home / version.artifact, version.fingerprint)
