"""Routing of users to versions: worked out once for every new state, looked up by every request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from itertools import compress
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.serving_state.serving_state import ServingState

Lane: TypeAlias = Literal["stable", "canary"]


STABLE: Final = "stable"


CANARY: Final = "canary"


DRAW_BYTES = 8
DRAWS = 2.0 ** (8 * DRAW_BYTES)


class RequestPart(NamedTuple):
    """The users of a request who read the same version."""

    version: EmbeddingVersion
    lane: Lane
    users: Sequence[str]
    max_age: float | None = None  # seconds; a stored vector older than this will not do


class RequestSplit(NamedTuple):
    """A request in parts by lane: one part, or the stable and the canary part, each in the order asked for."""

    parts: tuple[RequestPart, ...]
    in_canary: NDArray[np.bool_] | None = None  # [n] which users are in the second part; None for one part


@dataclass(frozen=True)
class Route:
    """The versions that a consumer reads: the stable one, and a canary for a share of its users."""

    consumer: str
    stable: EmbeddingVersion
    canary: EmbeddingVersion | None = None
    share: float = 0.0  # of the users, in the canary
    max_age: float | None = None  # of vectors, in seconds

    def split(self, users: Sequence[str]) -> RequestSplit:
        """The users by lane; without a canary the one part holds the given sequence itself."""
        if self.canary is None:
            return RequestSplit((RequestPart(self.stable, STABLE, users, self.max_age),))
        inside = self._inside(users)
        if True not in inside:
            return RequestSplit((RequestPart(self.stable, STABLE, users, self.max_age),))
        if False not in inside:
            return RequestSplit((RequestPart(self.canary, CANARY, users, self.max_age),))
        stable = [user for user, there in zip(users, inside, strict=True) if not there]
        canary = list(compress(users, inside))
        parts = (
            RequestPart(self.stable, STABLE, stable, self.max_age),
            RequestPart(self.canary, CANARY, canary, self.max_age),
        )
        return RequestSplit(parts, np.array(inside, bool))

    def _inside(self, users: Sequence[str]) -> list[bool]:
        salted, limit = self._lot
        return [_draw(salted, user) < limit for user in users]

    @cached_property
    def _lot(self) -> tuple[blake2b, bytes]:
        assert self.canary is not None
        return _salted_hash(self.consumer, self.canary.id), _limit(self.share)


def in_canary(consumer: str, canary: str, user: str, share: float) -> bool:
    """Whether a user of `consumer` reads its canary, as `share` of the users do (between 0 and 1, both excluded).

    A user has a fixed random number for each canary, and reads it while the share is above that number. So a larger
    share keeps everybody who was in, and another canary, or that of another consumer, has other users.
    """
    return _draw(_salted_hash(consumer, canary), user) < _limit(share)


def routes(state: ServingState) -> dict[str, Route]:
    """The route of each consumer that reads a version, by name."""
    versions = state.versions
    return {
        name: Route(
            consumer=name,
            stable=versions[assignment.stable],
            canary=versions[assignment.canary] if assignment.canary is not None else None,
            share=assignment.canary_share or 0.0,
            max_age=state.consumers[name].max_age_seconds,
        )
        for name, assignment in state.assignments.items()
    }


def served_versions(state: ServingState) -> list[EmbeddingVersion]:
    """The versions that any consumer reads, stable or canary, ordered by id."""
    read = {(assignment.stable, assignment.canary) for assignment in state.assignments.values()}
    return [state.versions[id] for id in sorted({id for pair in read for id in pair if id is not None})]


def _salted_hash(consumer: str, canary: str) -> blake2b:
    # The names are hashed first: together they may be longer than a key of BLAKE2, and must not be cut off.
    key = blake2b(f"{consumer}/{canary}".encode()).digest()
    return blake2b(digest_size=DRAW_BYTES, key=key)


def _draw(salted: blake2b, user: str) -> bytes:
    """A random number below DRAWS, most significant byte first, so that bytes compare as numbers do."""
    draw = salted.copy()  # copying a salted hash takes a third less time than salting one for every user
    draw.update(user.encode())
    return draw.digest()


def _limit(share: float) -> bytes:
    return math.ceil(share * DRAWS).to_bytes(DRAW_BYTES, "big")
