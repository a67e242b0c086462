"""One factory a record, with defaults for whatever a test does not care about."""

from datetime import UTC, datetime
from typing import Any

from portrait.registry.records.evidence_facts import ArtifactFacts, VectorFacts
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.versions.versions import NewVersion

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


def vector_facts(users: int = 10, **fields: Any) -> VectorFacts:
    """Vectors that no gate objects to, of all users."""
    healthy: dict[str, Any] = {
        "users_known": users,
        "users_sampled": users,
        "users_embedded": users,
        "not_finite": 0,
        "norm_median": 2.8,
        "norm_largest": 6.1,
        "collapsed_dimensions": 0,
        "dimension": 8,
        "priors": 0,
        "watermark_lag": 0.0,
        "refresh_lag": 0.0,
        "users_behind": 0,
    }
    return VectorFacts(**{**healthy, **fields})


def good_evidence(registry: Registry, version: EmbeddingVersion, users: int = 10) -> None:
    """Evidence of now, with which a backfilled version passes every gate."""
    registry.evidence.record(version.id, ArtifactFacts(True, version.fingerprint), vector_facts(users))


def ready_version(registry: Registry, run: str = "run-1", users: int = 10) -> EmbeddingVersion:
    """A registered and backfilled version with good evidence: it passes every gate at its default settings."""
    version = registry.versions.register(new_version(run))
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, users)
    registry.backfills.bucket_done(backfill.id, 0, users)
    registry.backfills.finish(backfill.id)
    good_evidence(registry, version, users)
    return registry.versions.get(version.id)


def with_versions(registry: Registry, count: int, consumer: str = "ads") -> Registry:
    """The registry acting for ada, with a consumer and the ready versions autoencoder-1 to -count."""
    acting = registry.acting("ada")
    acting.consumers.add(consumer, "ads team", "bid")
    for n in range(1, count + 1):
        ready_version(acting, f"run-{n}")
    return acting


def reads(registry: Registry, consumer: str = "ads") -> tuple[str | None, str | None, float | None]:
    """Stable version, canary and share of a consumer."""
    assignment = registry.consumers.assignment(consumer)
    return (assignment.stable, assignment.canary, assignment.canary_share) if assignment else (None, None, None)
