"""The Protocol that both online stores keep: what the floors above may ask of a store, whichever it is."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import get_online_store_from_config

from portrait.feature_repo.online.codec import Integers, VectorRow, VectorRows, Vectors
from portrait.feature_repo.online.rows import VECTOR, FeastRow, Fence, Row, rows_of_feast, rows_of_vectors
from portrait.feature_repo.online.store_mark import StoreMark

NONE_KEPT: Mapping[str, Sequence[str]] = MappingProxyType({})


class OnlineStore(Protocol):
    """Rows of views by user. Every method raises Unavailable when the store does not answer.

    A store names this class as a base, before that of Feast. Feast ships no types, and mypy takes a subclass of an
    untyped class for any Protocol, unless it says which. Python refuses to make a store that lacks a method.
    """

    kind: ClassVar[str]
    """What people call it."""

    reads_async: ClassVar[bool]
    """Whether `read_vector_async` and `read_vectors_async` need no thread."""

    has_tables: ClassVar[bool]
    """Whether a view is a table of a database file, which Feast makes, keeps account of and drops in one step.

    Else a view is fields of hashes on a server that others share, and is there before anything was declared.
    """

    held_how: ClassVar[str]
    """How `held_bytes` counts."""

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of Feast where they are newer than the stored ones; Feast calls it for all of its own writes."""
        self.write_rows(config, table.name, rows_of_feast(data))
        if progress:
            progress(len(data))

    def write_vectors(
        self,
        config: RepoConfig,
        view: str,
        user_ids: Sequence[str],
        vectors: Vectors,
        position: Integers,
        as_of: Integers,
        computed_at: int,
    ) -> int:
        """Write vectors [n, d] where they are newer than the stored ones; returns how many won.

        `position` and `as_of` (microseconds) are int64 [n]; `computed_at` is in microseconds.
        """
        return self.write_rows(config, view, rows_of_vectors(user_ids, vectors, position, as_of, computed_at))

    @abstractmethod
    def make_places(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Make the places of views that lack one: Feast takes for made what was lost with a database."""
        ...

    @abstractmethod
    def write_rows(self, config: RepoConfig, view: str, rows: Iterable[Row]) -> int:
        """Write rows whose (position, as_of) is greater than that of the stored ones; returns how many won.

        A row with a fence is let in only while its bucket's fence stands at its very epoch: in a store that was emptied
        or restored it does not. Raises LeaseLost when a fence kept rows out; the others are written.
        """
        ...

    @abstractmethod
    def raise_fences(self, config: RepoConfig, fences: Iterable[Fence], store: str | None = None) -> None:
        """From now on let in only rows of these epochs behind fences of these buckets; never goes back.

        Raises LeaseLost, with nothing raised, when the mark names another filling than `store`.
        """
        ...

    @abstractmethod
    def pin_server(self, config: RepoConfig) -> str:
        """From now on raise Unavailable where another server or file than the present one answers; returns its id."""
        ...

    @abstractmethod
    def unpin_server(self, config: RepoConfig) -> None:
        """Take any server again: for a process that goes on, and compares the marks no more."""
        ...

    @abstractmethod
    def read_mark(self, config: RepoConfig) -> StoreMark | None:
        """The mark of the store; None where it was never marked, or was emptied since."""
        ...

    @abstractmethod
    def write_mark(self, config: RepoConfig, mark: StoreMark) -> None:
        """Set the mark; one of the same filling only moves the beat forward, another one lowers all fences."""
        ...

    @abstractmethod
    def evicts(self, config: RepoConfig) -> bool:
        """Whether rows may have vanished one by one: the server evicts some when its memory is full, or has done so."""
        ...

    @abstractmethod
    def users(self, config: RepoConfig) -> Iterator[list[str]]:
        """Ids of all users of whom something is stored, some at a time; an id may come twice."""
        ...

    @abstractmethod
    def clear(self, config: RepoConfig, kept: Mapping[str, Sequence[str]]) -> None:
        """Delete all rows of users, except those of the `kept` views, which have these features."""
        ...

    @abstractmethod
    def read_rows(
        self, config: RepoConfig, view: str, keys: Sequence[bytes], features: Sequence[str]
    ) -> list[Row | None]:
        """The stored rows of entities, with those of the features that they have; None where nothing is stored."""
        ...

    @abstractmethod
    def read_vectors(self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int) -> VectorRows:
        """The stored vectors of these users, in this order."""
        ...

    @abstractmethod
    def read_vector(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """The stored vector of one user, cheaper than `read_vectors`."""
        ...

    @abstractmethod
    async def read_vectors_async(
        self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int
    ) -> VectorRows:
        """`read_vectors` without blocking the event loop."""
        ...

    @abstractmethod
    async def read_vector_async(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """`read_vector` without blocking the event loop."""
        ...

    @abstractmethod
    def count_rows(self, config: RepoConfig, view: str, feature: str = VECTOR) -> int:
        """How many entities have this feature."""
        ...

    @abstractmethod
    def has_view(self, config: RepoConfig, view: str) -> bool:
        """Whether there is a place for rows of a view."""
        ...

    @abstractmethod
    def delete_rows(self, config: RepoConfig, view: str, features: Sequence[str]) -> Iterator[int]:
        """Delete a view's rows, which have these features, of every entity; yields how many each short step had.

        Stopped in the middle and begun again, it goes on; a view without a place has none.
        """
        ...

    @abstractmethod
    def delete_feature(self, config: RepoConfig, view: str, feature: str) -> None:
        """Delete one feature of a view's rows, in short steps; the rows keep their order and their other features."""
        ...

    @abstractmethod
    def views_of(self, config: RepoConfig, user_id: str) -> list[str]:
        """Names of the views that hold something of a user, sorted."""
        ...

    @abstractmethod
    def delete_users(
        self, config: RepoConfig, user_ids: Sequence[str], kept: Mapping[str, Sequence[str]] = NONE_KEPT
    ) -> None:
        """Delete all that is stored of users, except rows of the `kept` views, which have these features."""
        ...

    @abstractmethod
    def purge(self, config: RepoConfig) -> list[str]:
        """Leave no bytes of what was deleted in the files; returns what could not be done, as sentences."""
        ...

    @abstractmethod
    def held_bytes(self, config: RepoConfig, user_ids: Sequence[str]) -> int:
        """Bytes that a project's rows take, of whom these are all users."""
        ...


def open_online_store(config: RepoConfig) -> OnlineStore:
    """The store that a configuration names; it connects when it is first asked."""
    store: OnlineStore = get_online_store_from_config(config.online_store)
    return store
