"""Rows of an online store: Feast's own, matrices of vectors, and the fences of refresh shards."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, repeat
from typing import NamedTuple, TypeVar

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from portrait.feature_repo.online.codec import (
    GREATEST,
    Integers,
    Order,
    Vectors,
    check_order,
    encode_integers,
    encode_vectors,
    microseconds,
    user_keys,
)
from portrait.registry.errors import InvalidInput, LeaseLost

VECTOR, POSITION = "vector", "position"
CHUNK = 5_000  # rows of one transaction: longer ones stall SQLite's readers

Item = TypeVar("Item")
FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class Fence(NamedTuple):
    """The fence of a row: the row is let in only while the fence of its bucket stands at its epoch."""

    bucket: int
    epoch: int


class Row(NamedTuple):
    """One entity of one view: serialized key, serialized feature values, order, and a fence if a shard writes it."""

    key: bytes
    values: dict[str, bytes]
    order: Order
    fence: Fence | None = None


def rows_of_feast(data: Sequence[FeastRow]) -> Iterator[Row]:
    """The rows that Feast hands to `online_write_batch`; the position is the feature of that name, else 0."""
    for key, values, event_time, created_time in data:
        as_of = microseconds(event_time)
        computed_at = as_of if created_time is None else microseconds(created_time)
        position = values[POSITION].int64_val if POSITION in values else 0
        if max(abs(position), abs(as_of)) >= GREATEST:
            raise InvalidInput(f"position {position} and time {as_of} cannot be ordered: they must be below 2**53")
        serialized = {name: value.SerializeToString() for name, value in values.items()}
        yield Row(serialize_entity_key(key, 3), serialized, Order(position, as_of, computed_at))


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of at most `size`, each drawn when it is asked for."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def require_none_kept_out(rows: int) -> None:
    """Raise LeaseLost where a fence kept rows out."""
    if rows:
        raise LeaseLost(f"{rows} rows of buckets that are in other hands were not written")


def require_same_store(same: bool) -> None:
    """Raise LeaseLost where fences were to be raised in a store that was emptied or exchanged."""
    if not same:
        raise LeaseLost("the online store is not the one that was marked: its rows have to be written anew")


def fence_rows(rows: Iterable[Row], fences: Sequence[Fence]) -> Iterator[Row]:
    """The rows, each with its fence."""
    for row, fence in zip(rows, fences, strict=True):
        yield row._replace(fence=fence)


def rows_of_vectors(
    user_ids: Sequence[str], vectors: Vectors, position: Integers, as_of: Integers, computed_at: int
) -> Iterator[Row]:
    """Rows of an embedding view: `vector` float32 [n, d], `position` and `as_of` int64 [n]."""
    if vectors.ndim != 2 or not len(user_ids) == len(vectors) == len(position) == len(as_of):
        raise InvalidInput(
            f"{len(user_ids)} users, vectors of shape {vectors.shape}, {len(position)} positions "
            f"and {len(as_of)} times do not belong together"
        )
    check_order(position, as_of)
    positions, times = position.tolist(), as_of.tolist()
    encoded = zip(encode_vectors(vectors), encode_integers(positions), strict=True)
    values = ({VECTOR: vector, POSITION: number} for vector, number in encoded)
    orders = map(Order, positions, times, repeat(computed_at))
    yield from map(Row, user_keys(user_ids), values, orders)
