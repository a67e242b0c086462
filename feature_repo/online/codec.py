"""Codec of the values in Feast's online stores, without Python lists and without a message per value.

Feast stores a feature as a serialized `feast.types.Value`. A vector's message is a constant header, given
its length, followed by the packed little-endian floats; so a matrix is encoded by one `tobytes` and decoded
by one `frombuffer`. A contract test holds every function here to Feast's own code.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Value

from portrait.feature_repo import schemas
from portrait.registry.errors import InvalidInput, Unavailable

# Redis compares orders as doubles: integers are exact up to here (positions for ever, times until the year 2255).
GREATEST = 2**53

Vectors = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order of a write, which decides between two writes of a row; times in microseconds since 1970."""

    position: int
    as_of: int
    computed_at: int


@dataclass(frozen=True)
class VectorRows:
    """Stored vectors of n users, in the order asked for; the row of a user without one is all zero."""

    found: npt.NDArray[np.bool_]  # [n]
    vectors: Vectors  # [n, d]
    position: Integers  # [n]
    as_of: Integers  # [n] microseconds since 1970
    computed_at: Integers  # [n] microseconds since 1970

    @property
    def complete(self) -> bool:
        """Whether every user has a vector."""
        return bool(np.count_nonzero(self.found) == len(self.found))


class VectorRow(NamedTuple):
    """The stored vector of one user."""

    vector: Vectors  # [d]
    position: int
    as_of: int  # microseconds since 1970
    computed_at: int  # microseconds since 1970


def microseconds(time: datetime) -> int:
    """Exact microseconds since 1970; a naive time is UTC, as in Feast."""
    return schemas.microseconds(time if time.tzinfo else time.replace(tzinfo=UTC))


def user_keys(user_ids: Iterable[str], join_key: str = "user_id") -> list[bytes]:
    """Feast's entity keys (serialization version 3) of a one-column string entity."""
    prefix, length = _key_prefix(join_key), struct.Struct("<I").pack
    return [prefix + length(len(encoded)) + encoded for encoded in map(str.encode, user_ids)]


def user_of_key(key: bytes) -> str | None:
    """The user of an entity key that `user_keys` has made; None for any other key."""
    prefix = _key_prefix("user_id")
    start = len(prefix) + 4
    if (
        not key.startswith(prefix)
        or len(key) < start
        or len(key) - start != int.from_bytes(key[start - 4 : start], "little")
    ):
        return None
    return key[start:].decode()


@lru_cache
def _key_prefix(join_key: str) -> bytes:
    # The key of the empty string, without the four bytes of its value's length.
    return bytes(serialize_entity_key(EntityKey(join_keys=[join_key], entity_values=[Value(string_val="")])))[:-4]


@lru_cache
def vector_header(dimension: int) -> bytes:
    """The constant bytes before a vector's packed floats."""
    message = Value(float_list_val=FloatList(val=[0.0] * dimension))
    return bytes(message.SerializeToString())[: -4 * dimension]


def encode_vectors(vectors: Vectors) -> list[bytes]:
    """The stored value of each row of float32 [n, d]; n values."""
    header, packed = vector_header(vectors.shape[1]), vectors.astype("<f4", copy=False).tobytes()
    size = 4 * vectors.shape[1]
    return [header + packed[start : start + size] for start in range(0, len(packed), size)]


def vector_rows(values: Sequence[bytes | None], order: Integers, dimension: int) -> VectorRows:
    """Rows in the order asked for, from n stored values; None, or Feast's null, stands for no value.

    `order` int64 [m, 3] is position, as_of and computed_at of the m values that exist.
    """
    stored = [value for value in values if value]
    if stored and len(stored) == len(values):  # nearly every read
        return VectorRows(np.ones(len(values), np.bool_), decode_vectors(stored, dimension), *order.T)
    found = np.array([bool(value) for value in values], dtype=np.bool_)
    vectors = np.zeros((len(values), dimension), dtype=np.float32)
    times = np.zeros((3, len(values)), dtype=np.int64)
    if stored:
        vectors[found] = decode_vectors(stored, dimension)
        times[:, found] = order.T
    return VectorRows(found, vectors, *times)


def decode_vector(value: bytes, dimension: int) -> Vectors:
    """float32 [d] from a stored value; raises Unavailable as `decode_vectors` does."""
    header = vector_header(dimension)
    if len(value) != len(header) + 4 * dimension or not value.startswith(header):
        raise _no_vector(value, dimension)
    return np.frombuffer(value[len(header) :], dtype="<f4")  # of a copy, as what follows the header is not aligned


def decode_vectors(values: Sequence[bytes], dimension: int) -> Vectors:
    """float32 [n, d] from stored values.

    Raises Unavailable when a value is not a vector of this dimension: the stored data cannot be relied upon.
    """
    header = np.frombuffer(vector_header(dimension), np.uint8)
    size = len(header) + 4 * dimension
    packed = np.frombuffer(b"".join(values), np.uint8)
    if packed.size != len(values) * size or (packed.reshape(-1, size)[:, : len(header)] != header).any():
        raise _no_vector(next((value for value in values if len(value) != size), values[0]), dimension)
    return np.ascontiguousarray(packed.reshape(-1, size)[:, len(header) :]).view("<f4")


def _no_vector(value: bytes, dimension: int) -> Unavailable:
    return Unavailable(f"the online store holds {len(value)} bytes where a vector of {dimension} numbers was due")


def encode_integers(numbers: Iterable[int]) -> list[bytes]:
    """The stored value of each int64."""
    return [Value(int64_val=number).SerializeToString() for number in numbers]


def check_order(position: Integers, as_of: Integers) -> None:
    """Raise InvalidInput for numbers that a store cannot compare exactly."""
    for name, numbers in (("position", position), ("as_of", as_of)):
        greatest = int(np.abs(numbers).max()) if numbers.size else 0
        if greatest >= GREATEST:
            raise InvalidInput(f"a {name} of {greatest} cannot be ordered: it must be below 2**53")
