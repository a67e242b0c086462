"""The real parts of a gateway, put together from settings: what a replica builds, and `portrait get`."""

from pathlib import Path

from feature_repo.log.event_log import EventLog
from feature_repo.online.redis import PortraitRedisOnlineStore
from feature_repo.store import FeatureRepo
from registry.database import Database
from registry.records import EmbeddingVersion
from registry.registry import Registry
from serving.assignments import PATIENCE, Assignments, RegistrySource
from serving.encoders import Encoder, EncoderCache
from serving.operations import Operations
from serving.parts import Parts
from serving.reader import EmbeddingReader
from serving.settings import ServingSettings
from serving.state_file import StateFile

STATE_FILE = "serving/assignments.json"
"""In the home: the assignments that a gateway without registry starts with."""


def build_parts(settings: ServingSettings) -> Parts:
    """The real parts over the configured registry and stores."""
    registry = Registry.open(settings.database_url)
    repo = open_repo(settings, registry)
    asynchronous = isinstance(repo.online, PortraitRedisOnlineStore)
    read_async = repo.read_vectors_async if asynchronous else None
    # The poller has connections of its own: it cuts those that hang, which must not hit a promotion.
    polled = Registry(Database(settings.database_url, PATIENCE))
    return Parts(build_reader(settings, polled, repo), Operations(registry, repo, repo.apply), read_async)


def build_reader(settings: ServingSettings, registry: Registry, repo: FeatureRepo) -> EmbeddingReader:
    """A reader over the configured stores; whoever builds it refreshes or starts its assignments."""
    kept = StateFile(settings.home / STATE_FILE, registry.database.shown_url)
    assignments = Assignments(RegistrySource(registry), settings.poll_seconds, kept)
    return EmbeddingReader(repo, assignments, EncoderCache(lambda version: _load(settings.home, version)))


def open_repo(settings: ServingSettings, registry: Registry) -> FeatureRepo:
    """The feature repo of these settings."""
    return FeatureRepo(settings, registry, EventLog(registry.database, settings))


def _load(home: Path, version: EmbeddingVersion) -> Encoder:
    from training.encoder import load_encoder  # torch takes seconds to import, and stored vectors need none of it

    return load_encoder(home / version.artifact, version.fingerprint)
