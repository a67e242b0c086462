"""The production online store: Feast's Redis store with conditional writes and vectors straight from bytes."""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import redis
import redis.asyncio
from feast import FeatureView, RepoConfig
from feast.infra.online_stores.helpers import _mmh3
from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import model_validator
from sqlalchemy import make_url

from portrait.feature_repo.online.codec import (
    Order,
    VectorRow,
    VectorRows,
    decode_vector,
    user_keys,
    user_of_key,
    vector_rows,
)
from portrait.feature_repo.online.online_store import NONE_KEPT, OnlineStore
from portrait.feature_repo.online.redis_connection import PipelinedRedis
from portrait.feature_repo.online.redis_files import purge
from portrait.feature_repo.online.rows import (
    VECTOR,
    FeastRow,
    Fence,
    Row,
    chunks,
    require_none_kept_out,
    require_same_store,
    rows_of_feast,
)
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.registry.errors import Unavailable

# (position, as_of, computed_at) as doubles, which Redis's Lua computes with: exact below 2**53, and unlike
# text they compare the same in every locale.
ORDER = struct.Struct("<ddd")
SCRIPT_ROWS = 256  # rows a script call: it blocks the server for about a millisecond
SCAN_ROWS = 2_000
TIMES = b"_ts:"  # before a view's name: Feast's field of its time

# KEYS: the entities' hashes, and last the hash of fences. ARGV: seconds to live (0: for ever), the order's field, the
# number n of further fields, their n names; then for each entity its order, its bucket and epoch (empty: no fence), and
# n values. Returns how many rows won, and how many a fence kept out.
WRITE = """
local ttl, order_field, n = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local at, won, kept_out = 3 + n, 0, 0
local raised = {}
for i = 1, #KEYS - 1 do
  local key, bucket, epoch = KEYS[i], ARGV[at + 2], ARGV[at + 3]
  local newer = true
  if bucket ~= '' then
    if raised[bucket] == nil then raised[bucket] = tonumber(redis.call('HGET', KEYS[#KEYS], bucket) or -1) end
    if raised[bucket] ~= tonumber(epoch) then
      newer, kept_out = false, kept_out + 1
    end
  end
  local stored = newer and redis.call('HGET', key, order_field)
  if stored then
    local position, as_of = struct.unpack('<dd', ARGV[at + 1])
    local stored_position, stored_as_of = struct.unpack('<dd', stored)
    newer = position > stored_position or (position == stored_position and as_of > stored_as_of)
  end
  if newer then
    local fields = {order_field, ARGV[at + 1]}
    for f = 1, n do
      fields[#fields + 1] = ARGV[3 + f]
      fields[#fields + 1] = ARGV[at + 3 + f]
    end
    redis.call('HSET', key, unpack(fields))
    if ttl > 0 then redis.call('EXPIRE', key, ttl) end
    won = won + 1
  end
  at = at + 3 + n
end
return {won, kept_out}
"""

# KEYS: the hash of fences, which holds the mark too: what empties the store takes both. ARGV: the store of the mark
# (empty: any), then bucket, epoch, bucket, epoch, ... Returns 0, with nothing raised, for another store.
RAISE = """
if ARGV[1] ~= '' and redis.call('HGET', KEYS[1], 'store') ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do
  if tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 1
"""

# KEYS: the hash of fences. ARGV: instance, store and beat of the mark.
MARK = """
if redis.call('HGET', KEYS[1], 'store') ~= ARGV[2] then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'instance', ARGV[1], 'store', ARGV[2], 'beat', ARGV[3])
elseif tonumber(redis.call('HGET', KEYS[1], 'beat')) < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'beat', ARGV[3])
end
"""


class PortraitRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """`location` is the server's URL: redis://user:password@host:port/db, or rediss:// for TLS."""

    type: Literal[
        "portrait.feature_repo.online.redis.PortraitRedisOnlineStore",
        "feature_repo.online.redis.PortraitRedisOnlineStore",  # its name before 0.2
    ] = "portrait.feature_repo.online.redis.PortraitRedisOnlineStore"

    @model_validator(mode="before")
    @classmethod
    def _portrait(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = dict(values)
        if "location" in values:
            values["connection_string"] = values.pop("location")
        if values.get("redis_type", "redis") != "redis":
            raise ValueError(f"redis_type {values['redis_type']!r}: writes are conditional on a single server only")
        return values


class PortraitRedisOnlineStore(OnlineStore, RedisOnlineStore):  # type: ignore[misc]  # Feast ships no types
    """A script decides on the server whether a write wins: only with a greater (position, as_of)."""

    kind = "Redis"
    reads_async = True
    has_tables = False
    held_how = "MEMORY USAGE of every user's hash, all fields sampled"

    _client: redis.Redis | None = None
    _client_async: redis.asyncio.Redis | None = None
    _pipelined: PipelinedRedis | None = None
    _pinned: str | None = None  # run_id of the only server that may answer

    async def online_write_batch_async(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: list[FeastRow],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write rows of Feast where they are newer than the stored ones."""
        client = await self._get_client_async(config.online_store)
        script = client.register_script(WRITE)
        with _explain_errors(config):
            for keys, arguments in _calls(config, table.name, rows_of_feast(data)):
                _count_won(await script(keys, arguments))
        if progress:
            progress(len(data))

    def read_vectors(self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int) -> VectorRows:
        """The stored vectors of these users, in this order."""
        with _explain_errors(config), self._get_client(config.online_store).pipeline(transaction=False) as pipeline:
            for command in vector_commands(config, view, user_ids):
                pipeline.execute_command(*command)
            return _answer(pipeline.execute(), dimension)

    async def read_vectors_async(
        self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int
    ) -> VectorRows:
        """`read_vectors` without blocking the event loop."""
        return _answer(await self._ask(config, view, user_ids), dimension)

    def read_vector(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """The stored vector of a user; None without one."""
        (command,) = vector_commands(config, view, [user_id])
        with _explain_errors(config):
            vector, order = self._get_client(config.online_store).execute_command(*command)
        return _single_vector(vector, order, dimension)

    async def read_vector_async(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """`read_vector` without blocking the event loop; costs half of `read_vectors_async` for one user."""
        ((vector, order),) = await self._ask(config, view, [user_id])
        return _single_vector(vector, order, dimension)

    async def _ask(self, config: RepoConfig, view: str, user_ids: Sequence[str]) -> list[list[bytes | None]]:
        if self._pipelined is None:
            self._pipelined = PipelinedRedis(config.online_store.connection_string)
        try:
            return await self._pipelined.ask(vector_commands(config, view, user_ids))
        except redis.RedisError as error:
            raise _unavailable(config, error) from error

    def close_async(self) -> None:
        """Close the connection that this event loop has opened for reads."""
        if self._pipelined is not None:
            self._pipelined.close()

    def make_places(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Nothing: Redis fields need no place."""

    def write_rows(self, config: RepoConfig, view: str, rows: Iterable[Row]) -> int:
        """Write rows that are newer than the stored ones, some in each call of the script."""
        script = self._get_client(config.online_store).register_script(WRITE)
        with _explain_errors(config):
            return _count_won(*(script(keys, arguments) for keys, arguments in _calls(config, view, rows)))

    def raise_fences(self, config: RepoConfig, fences: Iterable[Fence], store: str | None = None) -> None:
        """Let in from now on only rows of these epochs to these buckets; a fence never goes back."""
        arguments = [store or "", *(number for fence in fences for number in fence)]
        with _explain_errors(config):
            raised = self._get_client(config.online_store).register_script(RAISE)([_fence_key(config)], arguments)
        require_same_store(bool(raised))

    def pin_server(self, config: RepoConfig) -> str:
        """Let from now on no other process of the server answer: one that restarted may have lost writes."""
        self._pinned = None
        with _explain_errors(config):
            run_id: str = self._get_client(config.online_store).info("server")["run_id"]
        self._pinned = run_id
        return run_id

    def unpin_server(self, config: RepoConfig) -> None:
        """Let any server or file answer again."""
        self._pinned = None

    def read_mark(self, config: RepoConfig) -> StoreMark | None:
        """The mark of the store; None without one."""
        with _explain_errors(config):
            said = self._get_client(config.online_store).hmget(_fence_key(config), StoreMark._fields)
        if None in said:
            return None
        instance, store, beat = (value.decode() for value in said)
        return StoreMark(instance, store, int(beat))

    def write_mark(self, config: RepoConfig, mark: StoreMark) -> None:
        """Set the mark; another store's lowers all fences."""
        with _explain_errors(config):
            self._get_client(config.online_store).register_script(MARK)([_fence_key(config)], [*mark])

    def evicts(self, config: RepoConfig) -> bool:
        """Whether the server's policy lets it evict rows, or it has evicted some since it started."""
        client = self._get_client(config.online_store)
        with _explain_errors(config):
            memory, stats = client.info("memory"), client.info("stats")
        policy = memory.get("maxmemory_policy", "noeviction")
        may = bool(memory.get("maxmemory")) and policy.startswith("allkeys")  # "volatile": only keys that expire anyway
        return may or bool(stats.get("evicted_keys"))

    def users(self, config: RepoConfig) -> Iterator[list[str]]:
        """Ids of all users of whom something is stored; walks over all keys of the store."""
        for keys in _scan(self._get_client(config.online_store), config):
            yield [user for user in (_user_of(config, key) for key in keys) if user is not None]

    def clear(self, config: RepoConfig, kept: Mapping[str, Sequence[str]]) -> None:
        """Delete all fields of all users that do not belong to the kept views."""
        for keys in _scan(self._get_client(config.online_store), config):
            self._clear(config, keys, kept)

    def _clear(self, config: RepoConfig, keys: Sequence[bytes], kept: Mapping[str, Sequence[str]]) -> None:
        fields = {field for view, names in kept.items() for field in _fields_of(view, names)}
        client = self._get_client(config.online_store)
        with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hkeys(key)
            present = pipeline.execute()
        with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
            for key, names in zip(keys, present, strict=True):
                if gone := [name for name in names if name not in fields]:
                    pipeline.hdel(key, *gone)
            pipeline.execute()

    def read_rows(
        self, config: RepoConfig, view: str, keys: Sequence[bytes], features: Sequence[str]
    ) -> list[Row | None]:
        """The stored rows of entities, with those of the features that they have; None where nothing is stored."""
        fields = [_order_field(view), *(_field(view, feature) for feature in features)]
        project = config.project.encode()
        with _explain_errors(config), self._get_client(config.online_store).pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.hmget(key + project, fields)
            replies = pipeline.execute()
        return [_row(key, features, *reply) for key, reply in zip(keys, replies, strict=True)]

    def count_rows(self, config: RepoConfig, view: str, feature: str = VECTOR) -> int:
        """Number of entities with this feature; walks over all keys of the store."""
        client, count = self._get_client(config.online_store), 0
        for keys in _scan(client, config):
            with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hexists(key, _field(view, feature))
                count += sum(pipeline.execute())
        return count

    def has_view(self, config: RepoConfig, view: str) -> bool:
        """Whether the store has a place for rows of a view: always True, as Redis fields need none."""
        return True

    def delete_rows(self, config: RepoConfig, view: str, features: Sequence[str]) -> Iterator[int]:
        """Delete a view's rows of every user, a chunk of keys at a time; a hash without fields is gone."""
        fields = _fields_of(view, features)
        client = self._get_client(config.online_store)
        for keys in _scan(client, config):
            with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hdel(key, *fields)
                deleted = pipeline.execute()
            yield sum(fields_deleted > 0 for fields_deleted in deleted)

    def delete_feature(self, config: RepoConfig, view: str, feature: str) -> None:
        """Delete one feature of a view of every user, a chunk of keys at a time."""
        client = self._get_client(config.online_store)
        for keys in _scan(client, config):
            with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.hdel(key, _field(view, feature))
                pipeline.execute()

    def views_of(self, config: RepoConfig, user_id: str) -> list[str]:
        """Names of the views that hold something of a user."""
        [key] = _user_keys(config, [user_id])
        with _explain_errors(config):
            fields = self._get_client(config.online_store).hkeys(key)
        return sorted(field[len(TIMES) :].decode() for field in fields if field.startswith(TIMES))

    def delete_users(
        self, config: RepoConfig, user_ids: Sequence[str], kept: Mapping[str, Sequence[str]] = NONE_KEPT
    ) -> None:
        """Delete all that is stored of users, except fields of the kept views."""
        keys = _user_keys(config, user_ids)
        if keys and kept:
            self._clear(config, keys, kept)
        elif keys:
            with _explain_errors(config):
                self._get_client(config.online_store).delete(*keys)

    def purge(self, config: RepoConfig) -> list[str]:
        """Have the server rewrite its files without deleted bytes; returns a sentence for each thing that failed."""
        with _explain_errors(config):
            return purge(self._get_client(config.online_store))

    def held_bytes(self, config: RepoConfig, user_ids: Sequence[str]) -> int:
        """Bytes of these users' hashes, as the server says."""
        client, total = self._get_client(config.online_store), 0
        for keys in chunks(_user_keys(config, user_ids), SCAN_ROWS):
            with _explain_errors(config), client.pipeline(transaction=False) as pipeline:
                for key in keys:
                    pipeline.memory_usage(key, samples=0)
                total += sum(held or 0 for held in pipeline.execute())
        return total

    def delete_table(self, config: RepoConfig, table: FeatureView) -> None:
        """Delete the view's fields of every entity, in chunks."""
        for _ in self.delete_rows(config, table.name, [feature.name for feature in table.features]):
            pass

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> redis.Redis:
        if not self._client:
            self._client = redis.Redis.from_url(online_store_config.connection_string, redis_connect_func=self._greet)
        return self._client

    def _greet(self, connection: Any) -> None:
        """Begin a connection; one to another process than the pinned one carries no command."""
        connection.on_connect()
        if self._pinned is None:
            return
        connection.send_command("INFO", "server")
        said = connection.read_response()
        if f"run_id:{self._pinned}".encode() not in said.split():
            # No ConnectionError: redis-py would connect again and send its command all the same.
            raise redis.RedisError("it has restarted or another server has taken its place")

    async def _get_client_async(self, online_store_config: RedisOnlineStoreConfig) -> redis.asyncio.Redis:
        if not self._client_async:
            self._client_async = redis.asyncio.Redis.from_url(online_store_config.connection_string)
        return self._client_async


@contextmanager
def _explain_errors(config: RepoConfig) -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise _unavailable(config, error) from error


def _unavailable(config: RepoConfig, error: redis.RedisError) -> Unavailable:
    server = make_url(config.online_store.connection_string).render_as_string(hide_password=True)
    return Unavailable(f"the online store {server} does not answer: {error}")


def _calls(config: RepoConfig, view: str, rows: Iterable[Row]) -> Iterator[tuple[list[bytes], list[bytes | int | str]]]:
    """Keys and arguments of each call of the script."""
    project = config.project.encode()
    for chunk in chunks(rows, SCRIPT_ROWS):
        features = list(chunk[0].values)
        names = [_time_field(view), *(_field(view, feature) for feature in features)]
        arguments: list[bytes | int | str] = [
            config.online_store.key_ttl_seconds or 0,
            _order_field(view),
            len(names),
            *names,
        ]
        for _, values, order, fence in chunk:
            arguments += [ORDER.pack(order.position, order.as_of, order.computed_at), *(fence or ("", ""))]
            arguments += [_timestamp(order.as_of), *(values[feature] for feature in features)]
        yield [*(row.key + project for row in chunk), _fence_key(config)], arguments


def _count_won(*answers: list[int]) -> int:
    won, kept_out = (sum(counts) for counts in zip(*answers, strict=True)) if answers else (0, 0)
    require_none_kept_out(kept_out)
    return won


def _fence_key(config: RepoConfig) -> bytes:
    return f"portrait:{config.project}:fences".encode()


def vector_commands(config: RepoConfig, view: str, user_ids: Sequence[str]) -> list[tuple[bytes, ...]]:
    """The command for each user that looks up vector and order."""
    vector, order, project = _field(view, VECTOR), _order_field(view), config.project.encode()
    return [(b"HMGET", key + project, vector, order) for key in user_keys(user_ids)]


def _single_vector(vector: bytes | None, order: bytes | None, dimension: int) -> VectorRow | None:
    if not vector or not order:
        return None
    position, as_of, computed_at = ORDER.unpack(order)
    return VectorRow(decode_vector(vector, dimension), int(position), int(as_of), int(computed_at))


def _answer(replies: list[list[bytes | None]], dimension: int) -> VectorRows:
    # Both are written together; a vector without an order comes from another writer and does not count.
    values = [vector if order else None for vector, order in replies]
    packed = b"".join([order for vector, order in replies if vector and order])
    order = np.frombuffer(packed, "<f8").astype(np.int64).reshape(-1, 3)
    return vector_rows(values, order, dimension)


def _row(key: bytes, features: Sequence[str], order: bytes | None, *values: bytes | None) -> Row | None:
    if order is None:
        return None
    present = {name: value for name, value in zip(features, values, strict=True) if value is not None}
    return Row(key, present, Order(*map(int, ORDER.unpack(order))))


def _scan(client: redis.Redis, config: RepoConfig) -> Iterator[list[bytes]]:
    """The keys of all users of the project, some at a time."""
    # Looked at one by one: the keys of a project whose name only ends like this one's match the pattern too.
    with _explain_errors(config):
        every = client.scan_iter(b"*" + config.project.encode(), count=SCAN_ROWS)
        yield from chunks((key for key in every if _user_of(config, key) is not None), SCAN_ROWS)


@lru_cache(maxsize=4096)
def _field(view: str, feature: str) -> bytes:
    return bytes(_mmh3(f"{view}:{feature}"))


def _user_keys(config: RepoConfig, user_ids: Sequence[str]) -> list[bytes]:
    project = config.project.encode()
    return [key + project for key in user_keys(user_ids)]


def _user_of(config: RepoConfig, key: bytes) -> str | None:
    """The user of a key; None for one of another entity or project."""
    project = config.project.encode()
    return user_of_key(key.removesuffix(project)) if key.endswith(project) else None


def _fields_of(view: str, features: Sequence[str]) -> list[bytes]:
    return [_order_field(view), _time_field(view), *(_field(view, feature) for feature in features)]


def _time_field(view: str) -> bytes:
    return TIMES + view.encode()


def _order_field(view: str) -> bytes:
    return f"_order:{view}".encode()


@lru_cache(maxsize=1024)
def _timestamp(microseconds: int) -> bytes:
    time = Timestamp()
    time.FromMicroseconds(microseconds)
    return bytes(time.SerializeToString())
