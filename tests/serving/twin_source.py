"""The registry's records as serving polls them, and a source of them that counts and can fail."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Unavailable
from portrait.registry.records.grants import Grant
from portrait.registry.records.records import ApiKey, Assignment, Consumer, EmbeddingVersion
from portrait.registry.serving_state.serving_state import ServingState

DIMENSION = 8
BACKFILLED = datetime(2024, 5, 1, tzinfo=UTC)
FINGERPRINTS = {"autoencoder-1": "f" * 64, "autoencoder-2": "a" * 64}


def version(id: str = "autoencoder-1", **changes: Any) -> EmbeddingVersion:
    family, number = id.rsplit("-", 1)
    made = EmbeddingVersion(
        id=id,
        family=family,
        number=int(number),
        fingerprint=FINGERPRINTS.get(id, id),
        dimension=DIMENSION,
        state=VersionState.READY,
        failure=None,
        run=f"run-{id}",
        artifact=f"artifacts/run-{id}",
        parent=None,
        snapshot="s1",
        data_from=None,
        data_to=datetime(2024, 4, 1, tzinfo=UTC),
        feature_schema={},
        config={},
        metrics={"loss": 0.5},
        code_revision="r1",
        created_at=datetime(2024, 4, 2, tzinfo=UTC),
        last_as_of=BACKFILLED,
    )
    return replace(made, **changes)


def consumer(name: str) -> Consumer:
    return Consumer(name, "team", "ranking", datetime(2024, 1, 1, tzinfo=UTC))


def assignment(
    name: str, stable: str, revision: int = 1, canary: str | None = None, share: float | None = None
) -> Assignment:
    return Assignment(name, stable, canary, share, revision, datetime(2024, 5, 3, tzinfo=UTC))


def secret(id: str) -> str:
    """The text of the key of this id."""
    return f"portrait_{id}_{'s' * 35}{id:0>8}"


def key(id: str, name: str, *grants: str, revoked: bool = False) -> ApiKey:
    digest = hashlib.sha256(secret(id).encode()).hexdigest()
    allowed = tuple(Grant.parse(grant) for grant in grants)
    made_at = datetime(2024, 5, 3, tzinfo=UTC)
    return ApiKey(id, name, digest, allowed, made_at, "ann", made_at if revoked else None)


@dataclass
class TwinSource:
    """What the poller follows, made to count and to fail: two versions, one consumer on each, one without any."""

    versions: dict[str, EmbeddingVersion] = field(
        default_factory=lambda: {id: version(id) for id in ("autoencoder-1", "autoencoder-2")}
    )
    assignments: dict[str, Assignment] = field(
        default_factory=lambda: {
            "ranker": assignment("ranker", "autoencoder-1"),
            "search": assignment("search", "autoencoder-2"),
        }
    )
    consumers: dict[str, Consumer] = field(
        default_factory=lambda: {name: consumer(name) for name in ("ranker", "search", "fresh")}
    )
    keys: dict[str, ApiKey] = field(default_factory=dict)
    number: int = 1
    away: bool = False
    reads: int = 0
    reported: list[int] = field(default_factory=list)
    left: bool = False

    def generation(self) -> int:
        if self.away:
            raise Unavailable("the registry does not answer")
        return self.number

    def report(self, generation: int, facts: Mapping[str, Any]) -> None:
        if self.away:
            raise Unavailable("the registry does not answer")
        self.reported.append(generation)

    def leave(self) -> None:
        self.left = True

    def read(self) -> ServingState:
        self.reads += 1
        state = (dict(self.assignments), dict(self.versions), dict(self.consumers), dict(self.keys))
        return ServingState(self.generation(), *state)

    def promote(self, name: str, to_version: str) -> None:
        self.assignments[name] = assignment(name, to_version, 2)
        self.number += 1

    def try_out(self, name: str, canary: str, share: float) -> None:
        self.assignments[name] = assignment(name, self.assignments[name].stable, 2, canary, share)
        self.number += 1
