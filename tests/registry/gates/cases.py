"""Facts for the rules, healthy unless a test says otherwise."""

from datetime import UTC, datetime, timedelta
from typing import Any

from portrait.registry.database.tables import VersionState
from portrait.registry.gates.rule import GateFacts, Measurement
from portrait.registry.records.evidence_facts import ArtifactFacts, Evidence, VectorFacts
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.records.records import Assignment, Backfill, Consumer, EmbeddingVersion, Head
from tests.registry.factories import AS_OF, vector_facts

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FINISHED = NOW - timedelta(minutes=30)
LOOKED = NOW - timedelta(minutes=10)
FINGERPRINT = "f1"


def version(state: VersionState = VersionState.READY, id: str = "autoencoder-2") -> EmbeddingVersion:
    """A version in some state."""
    return EmbeddingVersion(
        id=id,
        family="autoencoder",
        number=2,
        fingerprint=FINGERPRINT,
        dimension=8,
        state=state,
        failure="diverged" if state is VersionState.FAILED else None,
        run="run-2",
        artifact="artifacts/run-2",
        parent=None,
        snapshot="snapshot-1",
        data_from=None,
        data_to=AS_OF,
        feature_schema={},
        config={},
        metrics={},
        code_revision="abc",
        created_at=AS_OF,
        last_as_of=AS_OF,
    )


def consumer(wants_head: bool = False, **gates: Any) -> Consumer:
    """A consumer with some gate settings."""
    return Consumer("ads", "ads team", "bid", AS_OF, GateSettings(**gates), wants_head)


def backfill(done: int = 10, expected: int = 10) -> Backfill:
    """A finished pass over a snapshot."""
    return Backfill(1, "autoencoder-2", "snapshot-1", AS_OF, {0: done}, expected, FINISHED, FINISHED)


def artifact(loads: bool = True, fingerprint: str | None = FINGERPRINT, at: datetime = LOOKED) -> Evidence:
    """Evidence of an artifact."""
    return Evidence("autoencoder-2", ArtifactFacts(loads, fingerprint, "" if loads else "gone"), at, "ada")


def vectors(users: int = 10, at: datetime = LOOKED, **fields: Any) -> Evidence:
    """Evidence of vectors."""
    return Evidence("autoencoder-2", seen(users, **fields), at, "ada")


def seen(users: int = 10, **fields: Any) -> VectorFacts:
    """What was seen of vectors."""
    return vector_facts(users, **fields)


def head(fingerprint: str = FINGERPRINT, id: int = 1) -> Head:
    """A head of the consumer on the version."""
    return Head(id, "ads", "autoencoder-2", fingerprint, "churn", "d1", AS_OF, {"auc": 0.7}, "s3://", NOW, "ada")


def measurement(value: float, stamp: str = "d1", as_of: datetime = AS_OF, **fields: Any) -> Measurement:
    """The consumer's metric, measured once."""
    described = {"task": "churn", "metric": "auc", "measured_at": NOW, **fields}
    return Measurement(data_stamp=stamp, as_of=as_of, value=value, **described)


def case(**fields: Any) -> GateFacts:
    """A version that every gate accepts, for a consumer that reads autoencoder-1."""
    healthy: dict[str, Any] = {
        "consumer": consumer(),
        "assignment": Assignment("ads", "autoencoder-1", None, None, 3, AS_OF),
        "version": version(),
        "backfill": backfill(),
        "now": NOW,
        "evidence": {"artifact": artifact(), "vectors": vectors()},
    }
    return GateFacts(**{**healthy, **fields})


def with_vectors(**fields: Any) -> dict[str, Any]:
    """The evidence field of a case whose vectors look like this."""
    return {"artifact": artifact(), "vectors": vectors(**fields)}
