"""The parts of a refresh shard, built from settings."""

from portrait.feature_repo.broker.redis_streams import open_broker
from portrait.feature_repo.history.logged_users import LoggedUsers
from portrait.feature_repo.ingest.known_columns import KnownColumns
from portrait.feature_repo.ingest.records import RecordJudge
from portrait.feature_repo.log.leases import LEASE, Leases
from portrait.feature_repo.store.fenced_writes import FencedWrites
from portrait.registry.registry import Registry
from portrait.serving.gateway.build import load_encoder_of, open_repo
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.refresh.chores import Chores
from portrait.serving.refresh.counts import RefreshCounts
from portrait.serving.refresh.held_buckets import HeldBuckets
from portrait.serving.refresh.intake import Intake
from portrait.serving.refresh.refresher import Refresher
from portrait.serving.refresh.shard import Shard
from portrait.serving.settings import ServingSettings
from portrait.training.encoding.later_items import NewItems


def build_shard(settings: ServingSettings, id: str) -> Shard:
    """A shard over the configured registry and stores; its leases are held under `id`."""
    registry = Registry.open(settings.database_url)
    repo = open_repo(settings, registry)
    writes = FencedWrites(repo)

    def shards() -> int:
        # A shard that was not seen for as long as a lease lasts has lost its buckets, and gets no share.
        return sum(replica.role == "shard" for replica in registry.replicas.list(LEASE))

    held = HeldBuckets(Leases(registry.database, id), writes, shards)
    encoders = EncoderCache(lambda version: load_encoder_of(settings.home, version))
    refresher = Refresher(repo, writes, encoders, held, RefreshCounts(), NewItems(repo.log), LoggedUsers(repo.log))
    chores = Chores(refresher, settings.seal_rows, settings.seal_seconds)
    broker = open_broker(settings)
    judge = RecordJudge(KnownColumns(repo.log), settings.max_clock_ahead, settings.clamp_clocks)
    intake = None if broker is None else Intake(broker, repo.log, judge, held)
    return Shard(id, registry, refresher, chores, intake, settings.poll_seconds, settings.lazy_seconds)
