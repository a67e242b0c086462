"""The parts of a gateway, built from settings: for a replica, and for `portrait get`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from portrait.feature_repo.broker.redis_streams import open_broker
from portrait.feature_repo.ingest.known_columns import KnownColumns
from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log import refresh_requests
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.feature_repo.store.reconcile_process import generations_behind
from portrait.registry.database.database import Database
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.serving.arrivals.arrivals import Arrivals
from portrait.serving.arrivals.inbox_writer import InboxWriter, into_broker, into_inbox
from portrait.serving.operations.operations import Operations
from portrait.serving.operations.reconciler import Reconciler, reconcile_elsewhere
from portrait.serving.reads.encoders import EncoderCache, Upkeep
from portrait.serving.reads.evicted_users import EvictedUsers
from portrait.serving.reads.reader import EmbeddingReader
from portrait.serving.reads.refresh_requests import RefreshRequests
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import PATIENCE, Assignments, RegistrySource
from portrait.serving.state.first_state import state_file_of
from portrait.serving.state.store_watch import StoreWatch
from portrait.training.encoding.later_items import NewItems

if TYPE_CHECKING:  # imported with the first model: stored vectors need none of it
    from portrait.training.encoding.encoder import Encoder


@dataclass(frozen=True)
class GatewayParts:
    """The parts behind a gateway; `build_parts` makes the real ones."""

    reader: EmbeddingReader
    operations: Operations
    arrivals: Arrivals
    asynchronous: FeatureRepo | None = None  # the store, where it can be awaited without a thread
    reconciler: Reconciler | None = None  # what is done beside answering
    requests: RefreshRequests | None = None  # who is told of users without a stored vector


WRITE_PATIENCE = 10.0
"""Seconds that a commit may take; it waits for the commits of bulk ingests."""


def build_parts(settings: ServingSettings) -> GatewayParts:
    """The real parts over the configured registry and stores."""
    registry = Registry.open(settings.database_url)
    repo = open_repo(settings, registry)
    asynchronous = repo if repo.online.reads_async else None
    # The poller has connections of its own: it cuts connections that hang, and must not cut that of a promotion.
    polled = Registry(Database(settings.database_url, PATIENCE))
    reconciler = _reconciler(settings, registry)
    operations = Operations(registry, repo, reconciler.reconcile, reconciler.later, polled)
    reconciler.resume = operations.resume_retirements
    requests = RefreshRequests(partial(refresh_requests.ask, EventLog(polled.database, settings)))
    reader, arrivals = build_reader(settings, polled, repo), build_arrivals(settings)
    return GatewayParts(reader, operations, arrivals, asynchronous, reconciler, requests)


def build_arrivals(settings: ServingSettings) -> Arrivals:
    """The arrivals: records go into the inbox, or into the broker where one is set."""
    # Connections of its own here too: they are cut when the registry hangs.
    log = EventLog(Database(settings.database_url, WRITE_PATIENCE), settings)
    broker = open_broker(settings)
    accept = into_inbox(log.inbox) if broker is None else into_broker(broker)
    writer = InboxWriter(accept, settings.accept_queue)
    judge = RecordJudge(KnownColumns(log), settings.max_clock_ahead, settings.clamp_clocks)
    return Arrivals(judge, writer, log.database, *([broker] if broker else []))


def build_reader(settings: ServingSettings, registry: Registry, repo: FeatureRepo) -> EmbeddingReader:
    """A reader over the configured stores; the caller refreshes or starts its assignments."""
    kept = state_file_of(settings, registry.database)
    assignments = Assignments(RegistrySource(registry), settings.poll_seconds, kept)
    # Over the registry's connections, not the repo's: a gateway cuts the registry's when they hang.
    upkeep = Upkeep(NewItems(EventLog(registry.database, settings)).bring)
    encoders = EncoderCache(lambda version: load_encoder_of(settings.home, version), keep_up=upkeep)
    # The registry's connections once more, for the same reason.
    own_log = EventLog(registry.database, settings)
    watch = StoreWatch(FeatureRepo(settings, registry, own_log).identity)
    return EmbeddingReader(repo, assignments, encoders, watch, EvictedUsers(own_log))


def open_repo(settings: ServingSettings, registry: Registry) -> FeatureRepo:
    """The feature repo of these settings, over the registry's database."""
    return FeatureRepo(settings, registry, EventLog(registry.database, settings))


def _reconciler(settings: ServingSettings, registry: Registry) -> Reconciler:
    return Reconciler(
        behind=lambda: generations_behind(registry.database),
        reconcile=lambda: reconcile_elsewhere(settings),
        seconds=settings.reconcile_seconds,
    )


def load_encoder_of(home: Path, version: EmbeddingVersion) -> "Encoder":
    """The encoder of a version's artifact; raises what loading raises for a broken or changed one."""
    from portrait.training.encoding.encoder import (
        load_encoder,  # torch takes seconds to import, and stored vectors need none of it
    )

    return load_encoder(home / version.artifact, version.fingerprint)
