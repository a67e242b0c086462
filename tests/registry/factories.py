"""One factory a record, with defaults for whatever a test does not care about."""

from datetime import UTC, datetime
from typing import Any

from registry.records import EmbeddingVersion
from registry.registry import Registry
from registry.versions import NewVersion

AS_OF = datetime(2011, 6, 10, tzinfo=UTC)


def new_version(run: str = "run-1", **fields: Any) -> NewVersion:
    """A version to register."""
    defaults: dict[str, Any] = {
        "family": "autoencoder",
        "fingerprint": f"fingerprint-of-{run}",
        "dimension": 8,
        "artifact": f"artifacts/{run}",
        "snapshot": "snapshot-1",
        "data_from": datetime(2009, 12, 1, 7, 45, tzinfo=UTC),
        "data_to": AS_OF,
        "feature_schema": {"history_length": 256},
        "config": {"epochs": 3},
        "metrics": {"loss": 0.25},
        "code_revision": "abc123",
    }
    return NewVersion(run=run, **{**defaults, **fields})


def ready_version(registry: Registry, run: str = "run-1", users: int = 10) -> EmbeddingVersion:
    """A registered and backfilled version."""
    version = registry.versions.register(new_version(run))
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, users)
    registry.backfills.bucket_done(backfill.id, 0, users)
    registry.backfills.finish(backfill.id)
    return registry.versions.get(version.id)
