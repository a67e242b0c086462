"""What forgetting a user has come to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portrait.registry.records.records import EmbeddingVersion

SHOWN = 16
"""Digits of a user's digest that audit and reports show."""

OUT_OF_REACH = (
    "the files that were ingested, and what `portrait export` and `portrait dataset` have written",
    "copies that consumers, heads and teams keep, and the sources of the teams' own features",
    "backups of databases, of the home and of Redis, write-ahead archives, replicas' own files",
    "logs of proxies in front of the gateway, which may hold the paths of requests",
    "models: the versions trained with the user, and trainings that are under way or were cut short",
)
ON_POSTGRES = "free space in Postgres's files, which keeps bytes of deleted rows until other rows take their place"


def subject_of(digest: str) -> str:
    """How audit and reports call a user whose id must not be kept."""
    return f"user {digest[:SHOWN]}"


@dataclass(frozen=True)
class TrainedVersion:
    """A version that has learned from the user, with its state when the user began to be forgotten."""

    id: str
    state: str


@dataclass(frozen=True)
class ForgettingReport:
    """What there was of a user, and what is left of it where Portrait cannot reach."""

    subject: str  # never the id
    asked_at: datetime
    finished_at: datetime
    found: dict[str, int]  # by place, before anything was deleted
    trained: tuple[TrainedVersion, ...]
    under_way: int  # working folders of living processes, which may hold the user until these end
    not_purged: tuple[str, ...]  # what could not be written anew now
    out_of_reach: tuple[str, ...]

    @property
    def total(self) -> int:
        """How much was found in all places."""
        return sum(self.found.values())


def found_to_json(found: Mapping[str, int], versions: Sequence[EmbeddingVersion]) -> dict[str, Any]:
    """What is kept beside the tombstone."""
    return {"found": dict(found), "trained": [{"id": one.id, "state": one.state.value} for one in versions]}


def trained_of(kept: Mapping[str, Any]) -> tuple[TrainedVersion, ...]:
    """The versions of what is kept."""
    return tuple(TrainedVersion(**one) for one in kept["trained"])
