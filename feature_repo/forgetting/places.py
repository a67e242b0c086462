"""Where something about a user can be, and what it takes to be such a place."""

from dataclasses import dataclass, field
from typing import Protocol

from portrait.feature_repo.log.partition import bucket_of
from portrait.registry.errors import InvalidInput


@dataclass(frozen=True)
class User:
    """A user to be forgotten; shows nothing of the id when it is printed."""

    id: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.id.strip():
            raise InvalidInput("the id of a user to be forgotten is blank: give the id that events and vectors have")

    @property
    def bucket(self) -> int:
        """The bucket of the user's log."""
        return bucket_of(self.id)


class Place(Protocol):
    """Somewhere that users' data lies. Nothing that it logs or raises may name the user."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def count(self, user: User) -> int:
        """How much of the user is there now: rows, entries or views, whatever the place consists of."""
        ...

    def delete(self, user: User) -> None:
        """Leave nothing of the user there; killed anywhere and called again, it ends in the same."""
        ...
