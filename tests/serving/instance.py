"""A small real instance: registry, log and online store with two backfilled versions, only the model is a twin."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.infra.migrations import upgrade
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.versions.versions import NewVersion
from portrait.serving.gateway.build import GatewayParts, build_parts
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.settings import ServingSettings
from tests.registry.factories import good_evidence
from tests.serving.twins import TwinEncoder

DIMENSION = 8  # of TwinEncoder
USERS = 120
AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
COMPUTED = 1_714_600_000_000_000  # microseconds


def build(settings: ServingSettings) -> GatewayParts:
    """The real parts, but for the encoder, whose training would take minutes."""
    parts = build_parts(settings)
    parts.reader.encoders = EncoderCache(lambda version: TwinEncoder(version.number))
    return parts


@dataclass(frozen=True)
class Instance:
    """What a test asks and changes."""

    settings: ServingSettings
    registry: Registry
    repo: FeatureRepo
    vectors: dict[str, NDArray[np.float32]]  # by version; row n is of user-n

    def promote(self, consumer: str, version: str) -> None:
        self.registry.promotions.promote(consumer, version, "test")


def make(settings: ServingSettings, versions: int = 2) -> Instance:
    """Ingest, declare, register, write vectors, promote `ranker` and `search` to the first version."""
    settings.home.mkdir(parents=True, exist_ok=True)
    registry = Registry.open(settings.database_url)
    upgrade(registry.database)
    log = EventLog(registry.database, settings)
    ingest(log, _events(settings.home), None, None)
    repo = FeatureRepo(settings, registry, log)
    repo.apply()
    repo.publish()
    made = [_register(registry, number) for number in range(1, versions + 1)]
    repo.apply()
    vectors = {version.id: _backfill(repo, version) for version in made}
    for consumer in ("ranker", "search", "fresh"):
        registry.consumers.add(consumer, "team")
    instance = Instance(settings, registry, repo, vectors)
    instance.promote("ranker", made[0].id)
    instance.promote("search", made[0].id)
    return instance


def _events(home: Path) -> Path:
    """Users user-0 to user-119 with an event each before AS_OF; `late` has two, the last after it, and no vector."""
    users = [*(f"user-{number}" for number in range(USERS)), "late", "late"]
    times = [datetime(2024, 4, 1, tzinfo=UTC)] * (USERS + 1) + [datetime(2024, 5, 3, tzinfo=UTC)]
    table = pa.table({"user_id": users, "item_id": ["song"] * len(users), "event_time": times})
    pq.write_table(table, home / "events.parquet")
    return home / "events.parquet"


def _register(registry: Registry, number: int) -> EmbeddingVersion:
    return registry.versions.register(
        NewVersion(
            family="autoencoder",
            fingerprint=f"{number:064x}",
            dimension=DIMENSION,
            run=f"run-{number}",
            artifact=f"artifacts/run-{number}",
            snapshot="twin",
            data_from=None,
            data_to=AS_OF,
            feature_schema={},
            config={},
        )
    )


def _backfill(repo: FeatureRepo, version: EmbeddingVersion) -> NDArray[np.float32]:
    rng = np.random.default_rng(version.number)
    vectors = rng.standard_normal((USERS, version.dimension), np.float32)
    users = [f"user-{number}" for number in range(USERS)]
    as_of = np.full(USERS, int(AS_OF.timestamp()) * 1_000_000, np.int64)
    repo.write_vectors(version, users, vectors, np.ones(USERS, np.int64), as_of, COMPUTED)
    backfills = repo.registry.backfills
    record = backfills.begin(version.id, "twin", AS_OF, USERS)
    backfills.bucket_done(record.id, 0, USERS)
    backfills.finish(record.id)
    good_evidence(repo.registry, version, USERS)
    return vectors
