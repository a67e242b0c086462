"""Grants of API keys: the scopes, and the consumer that a scope is granted for."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from portrait.registry.errors import InvalidInput


class Scope(StrEnum):
    """Scopes of an API key; READ and PROMOTE are granted for one consumer, or for any with `*`."""

    READ = "embeddings:read"
    EVENTS = "events:write"
    PROMOTE = "consumers:promote"
    ADMINISTER = "administer"  # everything


PER_CONSUMER = (Scope.READ, Scope.PROMOTE)
ANY = "*"


@dataclass(frozen=True)
class Grant:
    """One scope, written `embeddings:read=homepage` or `administer`."""

    scope: Scope
    consumer: str | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput for a scope without the consumer that it needs, or with one that it does not take."""
        if (self.scope in PER_CONSUMER) != bool(self.consumer):
            needs = "needs a consumer, or * for any" if self.scope in PER_CONSUMER else "is not for one consumer"
            raise InvalidInput(f"scope {self.scope} {needs}: {self!s}")

    @classmethod
    def parse(cls, text: str) -> "Grant":
        """The grant that `str` writes as `text`; raises InvalidInput for an unknown scope."""
        scope, _, consumer = text.partition("=")
        if scope not in set(Scope):
            raise InvalidInput(f"there is no scope {scope!r}; there are: {', '.join(Scope)}")
        return cls(Scope(scope), consumer or None)

    def allows(self, scope: Scope, consumer: str | None = None) -> bool:
        """Whether this grant covers a scope, for that consumer where the scope is granted per consumer."""
        if self.scope == Scope.ADMINISTER:
            return True
        return self.scope == scope and self.consumer in (None, ANY, consumer)

    def __str__(self) -> str:
        return f"{self.scope}={self.consumer}" if self.consumer else str(self.scope)


def known_grants(stored: Iterable[str]) -> tuple[Grant, ...]:
    """The stored grants that this code understands; grants of newer code allow nothing here."""
    known = []
    for text in stored:
        with suppress(InvalidInput):
            known.append(Grant.parse(text))
    return tuple(known)
