"""The contract of both online stores: Feast reads what they write, and older rows never win."""

import asyncio
import itertools
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.data_format import ParquetFormat
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import FloatList, Value
from feast.types import Array, Float32, Int64, String

from portrait.feature_repo.online import codec
from portrait.feature_repo.online.online_store import OnlineStore, open_online_store
from portrait.feature_repo.online.redis import PortraitRedisOnlineStore
from portrait.feature_repo.online.rows import Fence, Row, chunks, rows_of_vectors
from portrait.feature_repo.online.sqlite import PortraitSqliteOnlineStore
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.feature_repo.schemas import embeddings
from portrait.registry.errors import InvalidInput, LeaseLost, Unavailable

DIMENSION = 7
VIEW = "user_embedding__autoencoder_1"
NOON = 1_700_000_000_123_456  # microseconds
USERS = ["ann", "bob", "zoë", "", "user with a very long name " * 20]
STORES = {
    "sqlite": "portrait.feature_repo.online.sqlite.PortraitSqliteOnlineStore",
    "redis": "portrait.feature_repo.online.redis.PortraitRedisOnlineStore",
}


@dataclass
class Setup:
    """A Feast project with one embedding view in one of our stores."""

    feast: FeatureStore
    store: Any
    view: FeatureView
    files: Path

    @property
    def config(self) -> RepoConfig:
        return self.feast.config

    def write(self, users: list[str], vectors: np.ndarray, position: int, as_of: int = NOON) -> int:
        rows = len(users)
        orders = np.full(rows, position), np.full(rows, as_of)
        won: int = self.store.write_vectors(self.config, VIEW, users, vectors, *orders, computed_at=NOON + 5)
        return won

    def read(self, users: list[str]) -> codec.VectorRows:
        rows: codec.VectorRows = self.store.read_vectors(self.config, VIEW, users, DIMENSION)
        return rows


@pytest.fixture(params=list(STORES))
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Setup:
    redis = request.param == "redis"
    location = request.getfixturevalue("redis_url") if redis else str(tmp_path / "online.db")
    config = RepoConfig(
        project="portrait",
        provider="local",
        registry={"registry_type": "sql", "path": f"sqlite:///{tmp_path / 'feast.db'}"},
        online_store={"type": STORES[request.param], "location": location},
        offline_store={"type": "duckdb"},
        entity_key_serialization_version=3,
        repo_path=tmp_path,
    )
    feast = FeatureStore(config=config)
    files = tmp_path / "files"
    files.mkdir()
    source = FileSource(
        name="vectors",
        path=str(files),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="computed_at",
    )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    schema = [
        Field(name="user_id", dtype=String),
        Field(name="vector", dtype=Array(Float32), vector_index=True, vector_length=DIMENSION),
        Field(name="position", dtype=Int64),
    ]
    view = FeatureView(name=VIEW, entities=[user], schema=schema, source=source)
    feast.apply([user, source, view])
    return Setup(feast, feast._get_provider().online_store, view, files)


# What a store says of itself: what it is called, whether its reads need no thread, whether views are tables.
SAYS = {"PortraitSqliteOnlineStore": ("SQLite", False, True), "PortraitRedisOnlineStore": ("Redis", True, False)}


def test_a_store_keeps_the_protocol_and_says_what_it_is(setup: Setup) -> None:
    store = open_online_store(setup.config)
    assert type(store) is type(setup.store)
    assert OnlineStore in type(store).__mro__  # what makes mypy compare the methods
    assert (store.kind, store.reads_async, store.has_tables) == SAYS[type(store).__name__]
    assert store.held_how
    own = {name for name in vars(OnlineStore) if not name.startswith("_")}
    defaults = {"online_write_batch", "write_vectors"}  # the same for both
    assert own - defaults <= vars(type(store)).keys()


def test_a_store_that_lacks_a_method_cannot_be_made() -> None:
    class Store(OnlineStore, SqliteOnlineStore):
        pass

    with pytest.raises(TypeError, match="abstract methods"):
        Store()


def test_nobody_asks_which_class_a_store_is() -> None:
    """Feast imports the two classes by name; to everybody else a store is an `OnlineStore`."""
    root = Path(__file__).resolve().parents[3]
    imported = re.compile(r"from portrait\.feature_repo\.online(\.(sqlite|redis) import| import .*\b(sqlite|redis)\b)")
    for floor in ("registry", "feature_repo", "training", "serving", "infra"):
        for path in (root / floor).rglob("*.py"):
            assert not imported.search(path.read_text()), path


def vectors_of(seed: int, rows: int = len(USERS)) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)
    return drawn


def frame(users: list[str], vectors: np.ndarray, position: int, as_of: int) -> pd.DataFrame:
    time = pd.Timestamp(as_of, unit="us", tz="UTC")
    return pd.DataFrame(
        {"user_id": users, "vector": list(vectors), "position": position, "as_of": time, "computed_at": time}
    )


def entity_keys(users: list[str]) -> list[EntityKey]:
    return [EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=user)]) for user in users]


def test_keys_and_values_are_those_of_feast() -> None:
    assert codec.user_keys(USERS) == [serialize_entity_key(key, 3) for key in entity_keys(USERS)]
    vectors = np.vstack([vectors_of(0), np.float32([[0.0, -0.0, np.inf, np.nan, 1e-45, 3.4e38, -1.0]])])
    expected = [Value(float_list_val=FloatList(val=row)).SerializeToString() for row in vectors]
    assert codec.encode_vectors(vectors) == expected
    assert codec.decode_vectors(expected, DIMENSION).tobytes() == vectors.tobytes()
    numbers = [0, 1, 127, 128, 2**40, -1]
    assert codec.encode_integers(numbers) == [Value(int64_val=number).SerializeToString() for number in numbers]


def test_a_vector_of_another_dimension_is_refused_on_reading(setup: Setup) -> None:
    setup.write(USERS, vectors_of(0), position=1)
    with pytest.raises(Unavailable, match="vector of 9 numbers"):
        setup.store.read_vectors(setup.config, VIEW, USERS, 9)


def test_reads_back_what_was_written_in_the_order_asked_for(setup: Setup) -> None:
    vectors = vectors_of(1)
    assert setup.write(USERS, vectors, position=3) == len(USERS)
    rows = setup.read(["nobody", USERS[2], USERS[0], USERS[2]])
    assert rows.found.tolist() == [False, True, True, True]
    assert rows.vectors.tobytes() == np.vstack([np.zeros((1, DIMENSION), "f4"), vectors[[2, 0, 2]]]).tobytes()
    assert rows.position.tolist() == [0, 3, 3, 3]
    assert rows.as_of.tolist() == [0, NOON, NOON, NOON]
    assert rows.computed_at.tolist() == [0, NOON + 5, NOON + 5, NOON + 5]
    assert setup.store.count_rows(setup.config, VIEW) == len(USERS)
    assert not setup.read([]).found.size


def test_one_vector_is_read_as_several_are(setup: Setup) -> None:
    vectors = vectors_of(1)
    setup.write(USERS, vectors, position=3)
    for user, vector in zip(USERS, vectors, strict=True):
        stored = setup.store.read_vector(setup.config, VIEW, user, DIMENSION)
        assert stored.vector.tobytes() == vector.tobytes()
        assert stored[1:] == (3, NOON, NOON + 5)
    assert setup.store.read_vector(setup.config, VIEW, "nobody", DIMENSION) is None
    with pytest.raises(Unavailable, match="vector of 9 numbers"):
        setup.store.read_vector(setup.config, VIEW, USERS[0], 9)


def test_an_event_loop_reads_the_same(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the loop's own thread where the store says so, elsewhere in another one."""
    setup.write(USERS, vectors_of(15), position=3)
    threads: set[int] = set()
    for name in ("vector_rows", "decode_vector"):
        monkeypatch.setattr(f"{type(setup.store).__module__}.{name}", noting(threads, getattr(codec, name)))

    async def read() -> tuple[Any, ...]:
        view = (setup.config, VIEW)
        rows = await setup.store.read_vectors_async(*view, ["nobody", *USERS], DIMENSION)
        one = await setup.store.read_vector_async(*view, USERS[2], DIMENSION)
        none = await setup.store.read_vector_async(*view, "nobody", DIMENSION)
        empty = await setup.store.read_vectors_async(*view, [], DIMENSION)
        if setup.store.reads_async:
            setup.store.close_async()
        return rows, one, none, empty

    rows, one, none, empty = asyncio.run(read())
    assert (threads == {threading.get_ident()}) == setup.store.reads_async
    assert rows.found.tolist() == [False] + [True] * len(USERS)
    assert rows.vectors[1:].tobytes() == vectors_of(15).tobytes()
    assert one.vector.tobytes() == vectors_of(15)[2].tobytes() and one[1:] == (3, NOON, NOON + 5)
    assert none is None and not empty.found.size


def noting(threads: set[int], function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose callers' threads are noted."""

    def noted(*arguments: Any) -> Any:
        threads.add(threading.get_ident())
        return function(*arguments)

    return noted


def test_rows_are_read_with_those_features_that_they_have(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 2)
    keys = codec.user_keys(["ann", "bob", "cid", "nobody"])
    order = codec.Order(2, NOON, NOON + 5)
    written = [Row(key, {"a": b"1" + key, "b": b"2" + key}, order) for key in keys[:3]]
    assert setup.store.write_rows(setup.config, VIEW, iter(written)) == 3
    assert setup.store.write_rows(setup.config, VIEW, []) == 0
    read = setup.store.read_rows(setup.config, VIEW, [*keys[::-1], keys[0]], ["b", "a"])
    assert read == [None, *written[::-1], written[0]]
    read = setup.store.read_rows(setup.config, VIEW, keys[:1], ["a", "never"])
    assert read == [Row(keys[0], {"a": b"1" + keys[0]}, order)]
    assert setup.store.read_rows(setup.config, VIEW, [], ["a"]) == []
    newer = written[1]._replace(order=codec.Order(2, NOON + 1, 0), values={"a": b"new", "b": b""})
    older = written[0]._replace(order=codec.Order(1, NOON + 9, 0), values={"a": b"old", "b": b""})
    assert setup.store.write_rows(setup.config, VIEW, [newer, older]) == 1
    assert setup.store.read_rows(setup.config, VIEW, keys[:2], ["a", "b"]) == [written[0], newer]
    assert setup.store.count_rows(setup.config, VIEW, "a") == 3
    assert setup.store.count_rows(setup.config, VIEW) == 0


def test_a_users_views_are_named_and_deleted_with_the_user(setup: Setup) -> None:
    other_view(setup)
    orders = np.array([1, 1]), np.array([NOON, NOON])
    setup.write(USERS, vectors_of(1), position=1)
    before = stored_everywhere(setup)
    for users in (["ann", "gone"], ["gone", "away"]):
        setup.store.write_vectors(setup.config, "other", users, vectors_of(2, 2), *orders, computed_at=NOON)
    setup.write(["gone"], vectors_of(3, 1), position=1)
    assert setup.store.views_of(setup.config, "gone") == ["other", VIEW]
    assert setup.store.views_of(setup.config, "away") == ["other"]
    assert setup.store.views_of(setup.config, "nobody") == []
    setup.store.delete_users(setup.config, [])
    setup.store.delete_users(setup.config, ["gone", "away", "nobody"])
    assert setup.store.views_of(setup.config, "gone") == setup.store.views_of(setup.config, "away") == []
    for _ in setup.store.delete_rows(setup.config, "other", ("vector", "position")):
        pass
    assert stored_everywhere(setup) == before
    assert setup.write(["gone"], vectors_of(4, 1), position=0) == 1  # no order was left behind


def test_a_users_rows_are_deleted_but_for_those_of_kept_views(setup: Setup) -> None:
    other_view(setup)
    orders = np.array([1]), np.array([NOON])
    for user in ("ann", "gone"):
        setup.store.write_vectors(setup.config, "other", [user], vectors_of(2, 1), *orders, computed_at=NOON)
        setup.write([user], vectors_of(1, 1), position=1)
    setup.store.delete_users(setup.config, ["gone", "nobody"], {"other": ["vector", "position"]})
    assert setup.store.views_of(setup.config, "gone") == ["other"]
    assert setup.store.views_of(setup.config, "ann") == ["other", VIEW]
    kept = setup.store.read_vectors(setup.config, "other", ["gone"], vectors_of(2, 1).shape[1])
    assert kept.found.all() and (kept.vectors == vectors_of(2, 1)).all()


def test_after_a_purge_what_was_deleted_is_gone_and_the_rest_is_there(setup: Setup) -> None:
    """Byte by byte in files: test_redis_files.py for Redis, tests of forgetting for both."""
    setup.write(USERS, vectors_of(1), position=1)
    setup.store.delete_users(setup.config, USERS[:1])
    assert setup.store.purge(setup.config) == []
    if setup.store.has_tables:
        database = Path(setup.config.online_store.path).read_bytes()
        assert codec.encode_vectors(vectors_of(1))[0] not in database
        assert codec.encode_vectors(vectors_of(1))[1] in database
    assert setup.read(USERS).found.tolist() == [False, *[True] * (len(USERS) - 1)]


def test_held_bytes_are_those_of_the_stores_own_account(setup: Setup) -> None:
    users = [f"user {number}" for number in range(500)]
    before = setup.store.held_bytes(setup.config, users)
    setup.write(users, vectors_of(1, 500), position=1)
    held = setup.store.held_bytes(setup.config, users)
    assert held - before > 500 * 4 * DIMENSION
    if setup.store.has_tables:  # the database's, whoever is in it
        assert held == Path(setup.config.online_store.path).stat().st_size
        assert setup.store.held_bytes(setup.config, []) == held
    else:
        assert before == 0
        client = setup.store._get_client(setup.config.online_store)
        assert held == sum(client.memory_usage(key, samples=0) for key in client.scan_iter())
        assert 0 < setup.store.held_bytes(setup.config, [*users[:250], "nobody"]) < held


def test_chunks_are_drawn_one_at_a_time() -> None:
    drawn: list[int] = []
    numbers = (drawn.append(number) or number for number in range(5))
    several = chunks(numbers, 2)
    assert next(several) == [0, 1] == drawn
    assert list(several) == [[2, 3], [4]]
    assert list(chunks([], 3)) == []


def test_feast_reads_it_bit_for_bit(setup: Setup) -> None:
    vectors = vectors_of(2)
    setup.write(USERS, vectors, position=3)
    for row, (time, values) in enumerate(setup.store.online_read(setup.config, setup.view, entity_keys(USERS))):
        assert np.float32(values["vector"].float_list_val.val).tobytes() == vectors[row].tobytes()
        assert values["position"].int64_val == 3
        assert abs(time.timestamp() - NOON / 1e6) < 1
    answer = setup.feast.get_online_features(
        features=[f"{VIEW}:vector"], entity_rows=[{"user_id": user} for user in USERS]
    ).to_dict()
    assert np.array(answer["vector"], dtype=np.float32).tobytes() == vectors.tobytes()


def test_the_stock_store_of_feast_reads_it_too(setup: Setup) -> None:
    vectors = vectors_of(3)
    setup.write(USERS, vectors, position=3)
    online: dict[str, Any] = {"type": "sqlite", "path": getattr(setup.config.online_store, "path", "")}
    stock: Any = SqliteOnlineStore()
    if not setup.store.has_tables:
        host, _, number = setup.config.online_store.connection_string.removeprefix("redis://").partition("/")
        online = {"type": "redis", "connection_string": f"{host},db={number}"}
        stock = RedisOnlineStore()
    config = RepoConfig(project="portrait", registry="unused", online_store=online, offline_store={"type": "duckdb"})
    read = stock.online_read(config, setup.view, entity_keys(USERS), ["vector"])
    stored = np.float32([values["vector"].float_list_val.val for _, values in read])
    assert stored.tobytes() == vectors.tobytes()


def test_we_read_what_feast_writes(setup: Setup) -> None:
    vectors = vectors_of(4)
    setup.feast.write_to_online_store(VIEW, frame(USERS, vectors, 8, NOON))
    rows = setup.read(USERS)
    assert rows.found.all()
    assert rows.vectors.tobytes() == vectors.tobytes()
    assert rows.position.tolist() == [8] * len(USERS)
    assert rows.as_of.tolist() == [NOON] * len(USERS)


@pytest.mark.parametrize("arrival", list(itertools.permutations([(1, NOON + 9), (2, NOON), (2, NOON + 1)])))
def test_the_greatest_position_and_time_win_in_any_order(setup: Setup, arrival: tuple[tuple[int, int], ...]) -> None:
    vectors = {order: vectors_of(order[0] * 7 + order[1]) for order in arrival}
    for position, as_of in arrival:
        setup.write(USERS, vectors[position, as_of], position, as_of)
    assert setup.read(USERS).vectors.tobytes() == vectors[2, NOON + 1].tobytes()


def test_the_same_order_again_changes_nothing_and_counts_nothing(setup: Setup) -> None:
    setup.write(USERS, vectors_of(5), position=4)
    assert setup.write([*USERS, "new"], vectors_of(6, len(USERS) + 1), position=4) == 1
    assert setup.read(USERS).vectors.tobytes() == vectors_of(5).tobytes()


def test_within_one_batch_the_newest_wins(setup: Setup) -> None:
    vectors = vectors_of(7, 3)
    orders = np.array([1, 3, 2]), np.full(3, NOON)
    setup.store.write_vectors(setup.config, VIEW, ["ann"] * 3, vectors, *orders, computed_at=NOON)
    assert setup.read(["ann"]).vectors.tobytes() == vectors[1].tobytes()


def test_write_to_online_store_does_not_replace_a_newer_vector(setup: Setup) -> None:
    setup.write(["ann"], vectors_of(8, 1), position=5)
    setup.feast.write_to_online_store(VIEW, frame(["ann", "bob"], vectors_of(9, 2), 4, NOON + 10_000_000))
    assert setup.read(["ann"]).vectors.tobytes() == vectors_of(8, 1).tobytes()
    assert setup.read(["bob"]).vectors.tobytes() == vectors_of(9, 2)[1:].tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_materialize_does_not_replace_a_newer_vector(setup: Setup) -> None:
    stored, offline = vectors_of(10), vectors_of(11)
    time = pa.array([NOON] * len(USERS), pa.timestamp("us", tz="UTC"))
    flat = pa.FixedSizeListArray.from_arrays(pa.array(offline.ravel()), DIMENSION)
    columns = [pa.array(USERS), flat, pa.array([5] * len(USERS)), time, time]
    pq.write_table(pa.Table.from_arrays(columns, schema=embeddings(DIMENSION)), setup.files / "bucket=00.parquet")
    setup.write(USERS[:2], stored[:2], position=6)
    setup.write(USERS[2:3], stored[2:3], position=4)
    moment = datetime.fromtimestamp(NOON / 1e6, tz=UTC)
    setup.feast.materialize(moment - timedelta(days=1), moment + timedelta(days=1), feature_views=[VIEW])
    expected = np.vstack([stored[:2], offline[2:]])
    assert setup.read(USERS).vectors.tobytes() == expected.tobytes()


def test_dropping_a_view_leaves_nothing_of_it_and_all_of_the_others(setup: Setup) -> None:
    other_view(setup)
    orders = np.array([1]), np.array([NOON])
    setup.store.write_vectors(setup.config, "other", ["ann"], vectors_of(12, 1), *orders, computed_at=NOON)
    setup.write(USERS, vectors_of(13), position=9)
    setup.feast.apply([], objects_to_delete=[setup.view], partial=False)
    kept = setup.store.read_vectors(setup.config, "other", ["ann", "bob"], DIMENSION)
    assert kept.found.tolist() == [True, False]
    setup.feast.apply([setup.view])
    assert not setup.read(USERS).found.any()
    assert setup.write(USERS, vectors_of(14), position=1) == len(USERS)  # no order was left behind


def other_view(setup: Setup) -> FeatureView:
    """A second view of the same columns, with a place in the store."""
    other = FeatureView(name="other", entities=[], schema=setup.view.schema, source=setup.view.batch_source)
    other.entities, other.entity_columns = setup.view.entities, setup.view.entity_columns
    other.features = setup.view.features
    setup.store.update(setup.config, [], [other], [], [], False)
    return other


def empty(setup: Setup) -> None:
    """What an operator's mishap does to the store: FLUSHALL, or the file is gone."""
    if setup.store.has_tables:
        for name in ("online.db", "online.db-wal", "online.db-shm"):
            (setup.files.parent / name).unlink(missing_ok=True)
    else:
        setup.store._get_client(setup.config.online_store).flushdb()


def stored_everywhere(setup: Setup) -> dict[bytes, Any]:
    """All that the store holds, byte by byte, by view or hash."""
    if not setup.store.has_tables:
        client = setup.store._get_client(setup.config.online_store)
        return {key: client.hgetall(key) for key in client.scan_iter()}
    connection = setup.store._get_conn(setup.config)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: sorted(connection.execute(f'SELECT * FROM "{name}"').fetchall(), key=repr) for name in tables}


def test_deleting_rows_leaves_nothing_of_them_and_all_of_the_others_bit_for_bit(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 6)
    monkeypatch.setattr("portrait.feature_repo.online.redis.SCAN_ROWS", 3)
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.GIVE_WAY_SECONDS", 0)
    users, orders = [f"user {n}" for n in range(10)], (np.arange(10), np.full(10, NOON))
    other_view(setup)
    setup.store.write_vectors(setup.config, "other", users[5:], vectors_of(12, 5), *(o[5:] for o in orders), NOON)
    before = stored_everywhere(setup)
    setup.store.write_vectors(setup.config, VIEW, users, vectors_of(13, 10), *orders, NOON)
    chunks = list(setup.store.delete_rows(setup.config, VIEW, ("vector", "position")))
    assert sum(chunks) == 10 and len(chunks) >= 4 and max(chunks) <= 6
    assert stored_everywhere(setup) == before
    assert setup.write(users[:1], vectors_of(14, 1), position=-9) == 1  # no order was left behind


def test_deleting_goes_on_where_it_stopped_and_holds_nobody_up(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 6)
    monkeypatch.setattr("portrait.feature_repo.online.redis.SCAN_ROWS", 3)
    users, orders = [f"user {n}" for n in range(10)], (np.arange(10), np.full(10, NOON))
    other_view(setup)
    setup.store.write_vectors(setup.config, VIEW, users, vectors_of(13, 10), *orders, NOON)
    deleting = setup.store.delete_rows(setup.config, VIEW, ("vector", "position"))
    first = next(deleting)
    rows = setup.store.write_vectors(setup.config, "other", users, vectors_of(15, 10), *orders, NOON)
    assert rows == 10  # between two steps no lock is held
    deleting.close()
    assert setup.store.count_rows(setup.config, VIEW) == 10 - first > 0
    assert sum(setup.store.delete_rows(setup.config, VIEW, ("vector", "position"))) == 10 - first
    assert setup.store.count_rows(setup.config, VIEW) == 0
    assert sum(setup.store.delete_rows(setup.config, VIEW, ("vector", "position"))) == 0
    kept = setup.store.read_vectors(setup.config, "other", users, DIMENSION)
    assert kept.vectors.tobytes() == vectors_of(15, 10).tobytes()


def test_a_view_without_a_place_has_nothing_to_delete(setup: Setup) -> None:
    assert setup.store.has_view(setup.config, VIEW)
    assert setup.store.has_view(setup.config, "never_heard_of") != setup.store.has_tables  # a server needs no places
    assert list(setup.store.delete_rows(setup.config, "never_heard_of", ("vector", "position"))) == []


def test_one_feature_goes_and_the_rows_stay(setup: Setup) -> None:
    other_view(setup)
    order, keys = codec.Order(3, NOON, NOON), codec.user_keys(USERS)
    rows = [Row(key, {"age": b"1", "city": b"2"}, order) for key in keys]
    for view in (VIEW, "other"):
        assert setup.store.write_rows(setup.config, view, rows) == len(USERS)
    setup.store.delete_feature(setup.config, VIEW, "age")
    setup.store.delete_feature(setup.config, "never_heard_of", "age")
    found = setup.store.read_rows(setup.config, VIEW, keys, ["age", "city"])
    assert [row and (row.values, row.order) for row in found] == [({"city": b"2"}, order)] * len(USERS)
    assert setup.store.read_rows(setup.config, "other", keys, ["age", "city"]) == rows


@pytest.mark.slow
def test_a_killed_deletion_goes_on(tmp_path: Path) -> None:
    online = {"type": STORES["sqlite"], "location": str(tmp_path / "online.db")}
    config = RepoConfig(project="portrait", registry="unused", online_store=online, offline_store={"type": "duckdb"})
    store, users, orders = PortraitSqliteOnlineStore(), [f"user {n}" for n in range(40)], (np.arange(40),) * 2
    columns = "entity_key BLOB, feature_name TEXT, value BLOB, event_ts timestamp, created_ts timestamp"
    for view in (VIEW, "other"):
        primary = "PRIMARY KEY(entity_key, feature_name)"
        store._get_conn(config).execute(f'CREATE TABLE "portrait_{view}" ({columns}, {primary})')
        store.write_vectors(config, view, users, vectors_of(1, 40), *orders, computed_at=NOON)
    code = f"""
import os, signal
from feast import RepoConfig
from portrait.feature_repo.online import sqlite
sqlite.CHUNK = 10
config = RepoConfig(project="portrait", registry="unused", online_store={online!r}, offline_store={{"type": "duckdb"}})
for step, _ in enumerate(sqlite.PortraitSqliteOnlineStore().delete_rows(config, {VIEW!r}, ("vector", "position"))):
    if step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = store.count_rows(config, VIEW)
    assert 0 < left < 40
    assert sum(store.delete_rows(config, VIEW, ("vector", "position"))) == left
    assert store.count_rows(config, VIEW) == 0
    assert store.read_vectors(config, "other", users, DIMENSION).vectors.tobytes() == vectors_of(1, 40).tobytes()


def write_fenced(setup: Setup, seed: int, position: int, fences: list[Fence | None]) -> int:
    """A vector for each of the first users, each behind its fence."""
    count = len(fences)
    orders = np.full(count, position), np.full(count, NOON)
    rows = rows_of_vectors(USERS[:count], vectors_of(seed, count), *orders, computed_at=NOON)
    guarded = (row._replace(fence=fence) for row, fence in zip(rows, fences, strict=True))
    won: int = setup.store.write_rows(setup.config, VIEW, guarded)
    return won


def test_behind_a_fence_only_rows_of_its_epoch_are_written(setup: Setup) -> None:
    setup.store.raise_fences(setup.config, [Fence(3, 1), Fence(4, 1)])
    assert write_fenced(setup, 1, 1, [Fence(3, 1), Fence(4, 1), None]) == 3
    setup.store.raise_fences(setup.config, [Fence(3, 2), Fence(9, 7)])
    before = stored_everywhere(setup)
    with pytest.raises(LeaseLost, match="3 rows of buckets that are in other hands"):
        write_fenced(setup, 2, 2, [Fence(3, 1), Fence(3, 0), Fence(3, 3)])
    assert stored_everywhere(setup) == before
    assert write_fenced(setup, 3, 3, [Fence(3, 2), Fence(4, 1), None]) == 3
    assert setup.read(USERS[:3]).vectors.tobytes() == vectors_of(3, 3).tobytes()


def test_where_no_fence_stands_nothing_behind_one_is_written(setup: Setup) -> None:
    """The store was emptied: the history that the row was folded from may be gone."""
    with pytest.raises(LeaseLost, match="2 rows"):
        write_fenced(setup, 1, 1, [Fence(3, 1), Fence(4, 1), None])
    assert setup.read(USERS).found.tolist() == [False, False, True, False, False]


def test_rows_beside_one_that_a_fence_keeps_out_are_written(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 2)
    monkeypatch.setattr("portrait.feature_repo.online.redis.SCRIPT_ROWS", 2)
    setup.store.raise_fences(setup.config, [Fence(3, 2), Fence(4, 2)])
    with pytest.raises(LeaseLost, match="2 rows"):
        write_fenced(setup, 1, 1, [Fence(3, 1), Fence(4, 2), Fence(3, 1), Fence(3, 2), None])
    rows = setup.read(USERS)
    assert rows.found.tolist() == [False, True, False, True, True]
    assert rows.vectors[rows.found].tobytes() == vectors_of(1)[rows.found].tobytes()


def test_a_fence_never_goes_back(setup: Setup) -> None:
    for epoch in (5, 2, 4):
        setup.store.raise_fences(setup.config, [Fence(3, epoch), Fence(4, 10**15 + epoch)])
    with pytest.raises(LeaseLost):
        write_fenced(setup, 1, 1, [Fence(3, 4)])
    with pytest.raises(LeaseLost):
        write_fenced(setup, 1, 1, [Fence(4, 10**15 + 4)])
    assert write_fenced(setup, 1, 1, [Fence(3, 5), Fence(4, 10**15 + 5)]) == 2


def test_a_fence_lets_no_older_row_win(setup: Setup) -> None:
    setup.store.raise_fences(setup.config, [Fence(3, 2)])
    assert write_fenced(setup, 1, 5, [Fence(3, 2)]) == 1
    setup.store.raise_fences(setup.config, [Fence(3, 9)])
    assert write_fenced(setup, 2, 4, [Fence(3, 9)]) == 0
    assert setup.read(USERS[:1]).vectors.tobytes() == vectors_of(1, 1).tobytes()


def test_a_mark_goes_forward_and_leaves_with_the_rows(setup: Setup) -> None:
    store, config = setup.store, setup.config
    assert store.read_mark(config) is None
    for beat in (5, 9, 7):
        store.write_mark(config, StoreMark("here", "one", beat))
    assert store.read_mark(config) == StoreMark("here", "one", 9)
    empty(setup)
    assert store.read_mark(config) is None


def test_the_mark_of_another_filling_lowers_all_fences(setup: Setup) -> None:
    setup.store.write_mark(setup.config, StoreMark("here", "one", 9))
    setup.store.raise_fences(setup.config, [Fence(3, 2)], "one")
    setup.store.write_mark(setup.config, StoreMark("here", "two", 4))
    assert setup.store.read_mark(setup.config) == StoreMark("here", "two", 4)
    with pytest.raises(LeaseLost, match="1 rows"):
        write_fenced(setup, 1, 1, [Fence(3, 2)])
    with pytest.raises(LeaseLost, match="is not the one that was marked"):
        setup.store.raise_fences(setup.config, [Fence(3, 2)], "one")
    with pytest.raises(LeaseLost, match="1 rows"):
        write_fenced(setup, 1, 1, [Fence(3, 2)])


def test_no_fence_is_raised_in_an_emptied_store(setup: Setup) -> None:
    setup.store.write_mark(setup.config, StoreMark("here", "one", 9))
    empty(setup)
    with pytest.raises(LeaseLost, match="is not the one that was marked"):
        setup.store.raise_fences(setup.config, [Fence(3, 2)], "one")


def test_a_pinned_file_that_is_exchanged_takes_no_write_and_is_read_anew(setup: Setup) -> None:
    if not setup.store.has_tables:
        pytest.skip("Redis: tests/serving/refresh/test_lost_store.py restarts a server")
    setup.write(USERS, vectors_of(1), position=1)
    first = setup.store.pin_server(setup.config)
    path = setup.files.parent / "online.db"
    other = setup.files.parent / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (str(other),))
    setup.write(USERS, vectors_of(2), position=2)
    empty(setup)
    other.rename(path)
    with pytest.raises(Unavailable, match="another file than before"):
        setup.write(USERS, vectors_of(3), position=3)
    assert setup.read(USERS).vectors.tobytes() == vectors_of(1).tobytes()
    assert setup.store.pin_server(setup.config) != first
    assert setup.write(USERS, vectors_of(3), position=3) == len(USERS)


def test_a_project_whose_name_only_ends_alike_keeps_its_rows(setup: Setup) -> None:
    """Both lie in one Redis database, where a key ends with the project's name; on SQLite each table begins with it."""
    other = setup.config.model_copy(update={"project": f"my_{setup.config.project}"})
    store, config = setup.store, setup.config
    if store.has_tables:
        store.update(other, [], [setup.view], [], [], False)
    store.write_vectors(other, VIEW, USERS, vectors_of(1), np.full(5, 1), np.full(5, NOON), computed_at=NOON)
    setup.write(["ann"], vectors_of(2, 1), position=1)
    assert (store.count_rows(config, VIEW), store.count_rows(other, VIEW)) == (1, 5)
    assert list(store.users(config)) == [["ann"]]
    assert sum(store.delete_rows(config, VIEW, ("vector", "position"))) == 1
    store.clear(config, {})
    assert store.read_vectors(other, VIEW, USERS, DIMENSION).vectors.tobytes() == vectors_of(1).tobytes()


def test_all_users_are_found_and_all_but_kept_views_are_cleared(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 2)
    store, config = setup.store, setup.config
    other_view(setup)
    setup.write(USERS, vectors_of(1), position=1)
    orders = np.full(2, 1), np.full(2, NOON)
    store.write_rows(config, "other", rows_of_vectors([*USERS[:1], "eve"], vectors_of(2, 2), *orders, computed_at=NOON))
    assert sorted({user for users in store.users(config) for user in users}) == sorted([*USERS, "eve"])
    store.clear(config, {"other": ["vector", "position"]})
    assert not setup.read(USERS).found.any()
    assert store.count_rows(config, VIEW) == 0 and store.count_rows(config, "other") == 2
    assert [store.views_of(config, user) for user in (USERS[0], USERS[1])] == [["other"], []]
    kept = store.read_vectors(config, "other", [USERS[0], "eve"], DIMENSION)
    assert kept.vectors.tobytes() == vectors_of(2, 2).tobytes()
    store.write_mark(config, StoreMark("here", "one", 9))
    store.clear(config, {})
    assert list(map(sorted, store.users(config))) in ([], [[]])
    assert store.read_mark(config) == StoreMark("here", "one", 9)


def test_fences_are_no_rows_of_a_view(setup: Setup) -> None:
    """Neither counted nor deleted with one; and Feast's apply leaves them."""
    setup.store.raise_fences(setup.config, [Fence(bucket, 2) for bucket in range(64)])
    setup.write(USERS, vectors_of(1), position=1)
    assert setup.store.count_rows(setup.config, VIEW) == len(USERS)
    assert sum(setup.store.delete_rows(setup.config, VIEW, ("vector", "position"))) == len(USERS)
    other_view(setup)
    setup.feast.apply([], objects_to_delete=[setup.view], partial=False)
    setup.feast.apply([setup.view])
    with pytest.raises(LeaseLost):
        write_fenced(setup, 1, 1, [Fence(63, 1)])


def test_numbers_that_cannot_be_compared_exactly_are_refused(setup: Setup) -> None:
    with pytest.raises(InvalidInput, match="position of 9007199254740992"):
        setup.write(["ann"], vectors_of(0, 1), position=2**53)
    with pytest.raises(InvalidInput, match="do not belong together"):
        setup.write(["ann", "bob"], vectors_of(0, 1), position=1)


def test_many_threads_read_while_one_writes(setup: Setup) -> None:
    setup.write(USERS, vectors_of(0), position=1)
    generations = [vectors_of(seed) for seed in range(20)]
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(50):
                rows = setup.read(USERS)
                drawn = generations[int(rows.position[0]) - 1]
                assert rows.vectors[0].tobytes() == drawn[0].tobytes()  # a row is never half of one write
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for position in range(2, 21):
        setup.write(USERS, generations[position - 1], position)
    for reader in readers:
        reader.join()
    assert not failures


def test_concurrent_writers_leave_the_greatest(setup: Setup) -> None:
    def write(positions: list[int]) -> None:
        for position in positions:
            setup.write(USERS, vectors_of(position), position)

    writers = [threading.Thread(target=write, args=(list(range(start, 40, 4)),)) for start in range(1, 5)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = setup.read(USERS)
    assert set(rows.position.tolist()) == {39} or max(rows.position.tolist()) == 40
    assert rows.vectors.tobytes() == vectors_of(int(rows.position[0])).tobytes()


ASKED: dict[str, Callable[[PortraitRedisOnlineStore, RepoConfig], object]] = {
    "read": lambda store, config: store.read_vectors(config, VIEW, ["ann"], DIMENSION),
    "count": lambda store, config: store.count_rows(config, VIEW),
    "delete": lambda store, config: list(store.delete_rows(config, VIEW, ["vector"])),
    "views": lambda store, config: store.views_of(config, "ann"),
    "forget": lambda store, config: store.delete_users(config, ["ann"]),
    "purge": lambda store, config: store.purge(config),
    "bytes": lambda store, config: store.held_bytes(config, ["ann"]),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_server_that_is_away_is_named_without_its_password(
    ask: Callable[[PortraitRedisOnlineStore, RepoConfig], object],
) -> None:
    online = {"type": STORES["redis"], "location": "redis://:secret@127.0.0.1:1/0"}
    config = RepoConfig(project="portrait", registry="unused", online_store=online, offline_store={"type": "duckdb"})
    with pytest.raises(Unavailable, match=r"redis://:\*\*\*@127.0.0.1:1/0"):
        ask(PortraitRedisOnlineStore(), config)


def test_a_view_that_was_never_applied_is_named(tmp_path: Path) -> None:
    online = {"type": STORES["sqlite"], "location": str(tmp_path / "online.db")}
    config = RepoConfig(project="portrait", registry="unused", online_store=online, offline_store={"type": "duckdb"})
    with pytest.raises(Unavailable, match=f"{VIEW}.*run `portrait apply`"):
        PortraitSqliteOnlineStore().read_vectors(config, VIEW, ["ann"], DIMENSION)
