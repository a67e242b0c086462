"""An online store in memory: what both real ones do, and what may happen to their servers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from feast import FeatureView, RepoConfig

from portrait.feature_repo.online.codec import Order, VectorRow, VectorRows, user_keys, user_of_key, vector_rows
from portrait.feature_repo.online.online_store import NONE_KEPT, OnlineStore
from portrait.feature_repo.online.rows import (
    VECTOR,
    Fence,
    Row,
    chunks,
    require_none_kept_out,
    require_same_store,
)
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.registry.errors import Unavailable

SCRIPT_ROWS = 2
"""Rows that are written in one step; a real store takes more, so more of a batch is there or not."""

Rows = dict[str, dict[bytes, tuple[dict[str, bytes], Order]]]
"""By view and key: the features, and the row's order."""

Watcher = Callable[["MemoryOnlineStore", Row], object]
"""Called with the client and the row of every write that won."""


@dataclass
class StoreImage:
    """All that a store holds at one moment."""

    rows: Rows
    fences: dict[int, int]
    mark: StoreMark | None

    def copy(self) -> "StoreImage":
        return StoreImage({view: dict(rows) for view, rows in self.rows.items()}, dict(self.fences), self.mark)


@dataclass
class StoreServer:
    """A server of an online store, shared by all clients; its content is `held`."""

    held: StoreImage = field(default_factory=lambda: StoreImage({}, {}, None))
    life: int = 1  # a server that restarts, or another one in its place, has another number
    on_write: Watcher | None = None
    on_fence: Callable[["MemoryOnlineStore", Fence], object] | None = None
    past: list[tuple[float, StoreImage]] = field(default_factory=list)  # before each change, oldest first
    now: Callable[[], float] = lambda: 0.0
    remembers: bool = False

    def remember(self) -> None:
        """Keep the content before a change, for a server that loses its last writes."""
        if self.remembers:
            self.past.append((self.now(), self.held.copy()))

    def restart(self, image: StoreImage | None = None) -> None:
        """Another process of the server answers from now on, with this content."""
        self.life += 1
        if image is not None:
            self.held = image.copy()


class MemoryOnlineStore(OnlineStore):
    """A client of a server in memory. `call` stands around each call, and may fail before or after its effect."""

    kind: ClassVar[str] = "memory"
    reads_async: ClassVar[bool] = False
    has_tables: ClassVar[bool] = False
    held_how: ClassVar[str] = "not at all"

    def __init__(
        self,
        server: StoreServer,
        owner: str = "",
        before: Callable[[str], object] = lambda kind: None,
        after: Callable[[str], object] = lambda kind: None,
    ) -> None:
        self.server = server
        self.owner = owner
        self._before = before
        self._after = after
        self._pinned: int | None = None

    def _held(self, kind: str) -> StoreImage:
        self._before(kind)
        if self._pinned is not None and self._pinned != self.server.life:
            raise Unavailable("the online store is another server than before: it has restarted")
        return self.server.held

    def make_places(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Nothing."""

    def write_rows(self, config: RepoConfig, view: str, rows: Iterable[Row]) -> int:
        """Write the rows that are newer, some at a time."""
        won, kept_out = 0, 0
        for chunk in chunks(rows, SCRIPT_ROWS):
            held = self._held("write")
            self.server.remember()
            stored = held.rows.setdefault(view, {})
            for row in chunk:
                if row.fence is not None and held.fences.get(row.fence.bucket) != row.fence.epoch:
                    kept_out += 1
                    continue
                values, order = stored.get(row.key, ({}, None))
                if order is None or (row.order.position, row.order.as_of) > (order.position, order.as_of):
                    stored[row.key] = (values | row.values, row.order)
                    won += 1
                    if self.server.on_write is not None:
                        self.server.on_write(self, row)
            self._after("write")
        require_none_kept_out(kept_out)
        return won

    def raise_fences(self, config: RepoConfig, fences: Iterable[Fence], store: str | None = None) -> None:
        """Raise fences in the store of this filling."""
        held = self._held("raise fences")
        require_same_store(store is None or (held.mark is not None and held.mark.store == store))
        self.server.remember()
        for fence in fences:
            held.fences[fence.bucket] = max(fence.epoch, held.fences.get(fence.bucket, 0))
            if self.server.on_fence is not None:
                self.server.on_fence(self, fence)
        self._after("raise fences")

    def pin_server(self, config: RepoConfig) -> str:
        """Take from now on no other server."""
        self._pinned = None
        self._held("pin")
        self._pinned = self.server.life
        return str(self._pinned)

    def unpin_server(self, config: RepoConfig) -> None:
        """Take any server."""
        self._pinned = None

    def read_mark(self, config: RepoConfig) -> StoreMark | None:
        """The mark."""
        return self._held("read mark").mark

    def write_mark(self, config: RepoConfig, mark: StoreMark) -> None:
        """Set the mark; another filling's lowers all fences."""
        held = self._held("write mark")
        self.server.remember()
        if held.mark is not None and held.mark.store == mark.store:
            held.mark = held.mark._replace(beat=max(held.mark.beat, mark.beat))
        else:
            held.mark = mark
            held.fences.clear()
        self._after("write mark")

    def evicts(self, config: RepoConfig) -> bool:
        """Never by itself; the simulation takes rows away."""
        return False

    def users(self, config: RepoConfig) -> Iterator[list[str]]:
        """All users, view by view."""
        for rows in list(self._held("users").rows.values()):
            yield [user for user in map(user_of_key, rows) if user is not None]

    def clear(self, config: RepoConfig, kept: Mapping[str, Sequence[str]]) -> None:
        """Delete the rows of all views but the kept ones."""
        held = self._held("clear")
        for view in held.rows.keys() - kept.keys():
            held.rows[view] = {key: row for key, row in held.rows[view].items() if user_of_key(key) is None}
        self._after("clear")

    def read_rows(
        self, config: RepoConfig, view: str, keys: Sequence[bytes], features: Sequence[str]
    ) -> list[Row | None]:
        """Rows with those of the features that they have."""
        stored = self._held("read").rows.get(view, {})
        return [_chosen(key, stored.get(key), features) for key in keys]

    def read_vectors(self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int) -> VectorRows:
        """Vectors of users."""
        rows = self.read_rows(config, view, user_keys(user_ids), [VECTOR])
        orders = [(row.order.position, row.order.as_of, row.order.computed_at) for row in rows if row is not None]
        order = np.array(orders, np.int64).reshape(-1, 3)
        return vector_rows([None if row is None else row.values[VECTOR] for row in rows], order, dimension)

    def read_vector(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """The vector of one user."""
        rows = self.read_vectors(config, view, [user_id], dimension)
        if not rows.found[0]:
            return None
        order = (int(numbers[0]) for numbers in (rows.position, rows.as_of, rows.computed_at))
        return VectorRow(rows.vectors[0], *order)

    async def read_vectors_async(
        self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int
    ) -> VectorRows:
        """The same at once."""
        return self.read_vectors(config, view, user_ids, dimension)

    async def read_vector_async(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """The same at once."""
        return self.read_vector(config, view, user_id, dimension)

    def count_rows(self, config: RepoConfig, view: str, feature: str = VECTOR) -> int:
        """Rows with a feature."""
        return sum(feature in values for values, _ in self._held("count").rows.get(view, {}).values())

    def has_view(self, config: RepoConfig, view: str) -> bool:
        """Always: a view needs no place."""
        return True

    def delete_rows(self, config: RepoConfig, view: str, features: Sequence[str]) -> Iterator[int]:
        """Delete rows, some at a time."""
        while rows := self._held("delete view").rows.get(view, {}):
            self.server.remember()
            some = list(rows)[:SCRIPT_ROWS]
            for key in some:
                del rows[key]
            self._after("delete view")
            yield len(some)

    def delete_feature(self, config: RepoConfig, view: str, feature: str) -> None:
        """Delete one feature of a view's rows."""
        self.server.remember()
        for values, _ in self._held("delete feature").rows.get(view, {}).values():
            values.pop(feature, None)
        self._after("delete feature")

    def views_of(self, config: RepoConfig, user_id: str) -> list[str]:
        """Views with something of a user."""
        [key] = user_keys([user_id])
        return sorted(view for view, rows in self._held("views of").rows.items() if key in rows)

    def delete_users(
        self, config: RepoConfig, user_ids: Sequence[str], kept: Mapping[str, Sequence[str]] = NONE_KEPT
    ) -> None:
        """Delete all rows of users, except in the kept views."""
        held = self._held("delete users")
        self.server.remember()
        for key in user_keys(user_ids):
            for view, rows in held.rows.items():
                if view not in kept:
                    rows.pop(key, None)
        self._after("delete users")

    def purge(self, config: RepoConfig) -> list[str]:
        """What was written until now is on the disk: a server that stops does not lose it."""
        self._held("purge")
        self.server.past.clear()
        return []

    def held_bytes(self, config: RepoConfig, user_ids: Sequence[str]) -> int:
        """Not counted."""
        return 0


def _chosen(key: bytes, stored: tuple[dict[str, bytes], Order] | None, features: Sequence[str]) -> Row | None:
    if stored is None:
        return None
    values, order = stored
    chosen = {name: values[name] for name in features if name in values}
    return Row(key, chosen, order) if chosen else None
