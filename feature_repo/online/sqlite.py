"""The embedded online store: Feast's SQLite store with conditional writes and vectors straight from bytes."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from feast import Entity, FeatureView, RepoConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from pydantic import model_validator

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
from portrait.feature_repo.online.rows import (
    CHUNK,
    VECTOR,
    Fence,
    Row,
    chunks,
    require_none_kept_out,
    require_same_store,
)
from portrait.feature_repo.online.store_mark import StoreMark
from portrait.registry.database.compaction import compact
from portrait.registry.errors import Unavailable

# A row's order beside its value, one column each. The defaults lose against every write.
ORDER_COLUMNS = {"position": -(2**63), "as_of": -(2**63), "computed_at": 0}
MICROSECONDS = 1_000_000
NOTHING: tuple[bytes, tuple[int, ...]] = (b"", ())
# Read pages where the kernel keeps them: without it each page of a batch is a system call and a copy, a quarter of a
# read of 100 users.
MAPPED_BYTES = 1 << 30
UPSERT = """
INSERT INTO {table} (entity_key, feature_name, value, event_ts, created_ts, position, as_of, computed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (entity_key, feature_name) DO UPDATE SET
    value = excluded.value, event_ts = excluded.event_ts, created_ts = excluded.created_ts,
    position = excluded.position, as_of = excluded.as_of, computed_at = excluded.computed_at
WHERE (excluded.position, excluded.as_of) > (position, as_of)
"""

FENCES = "refresh_fences"  # not named like a view of a project: a forgetting looks through those
MAKE_FENCES = f"CREATE TABLE IF NOT EXISTS {FENCES} (bucket INTEGER PRIMARY KEY, epoch INTEGER)"
RAISE = f"""
INSERT INTO {FENCES} (bucket, epoch) VALUES (?, ?)
ON CONFLICT (bucket) DO UPDATE SET epoch = max(epoch, excluded.epoch)
"""
MARKS = "store_mark"
MAKE_MARKS = f"CREATE TABLE IF NOT EXISTS {MARKS} (instance TEXT, store TEXT, beat INTEGER)"
DELETE = "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} LIMIT ?) RETURNING feature_name"
DELETE_FEATURE = "DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE feature_name = ? LIMIT ?)"
# A pause between two transactions: waiting writers only try now and then.
GIVE_WAY_SECONDS = 0.01


class PortraitSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """`location` is the path of the database.

    The type reads as plain "sqlite" once loaded: Feast compares it with that word to decide whether `feast
    apply` shows and applies a diff of the infrastructure, which is right for this store too.
    """

    type: Literal["sqlite"] = "sqlite"

    @model_validator(mode="before")
    @classmethod
    def _portrait(cls, values: dict[str, Any]) -> dict[str, Any]:
        values = values | {"type": "sqlite"}
        if "location" in values:
            values["path"] = values.pop("location")
        return values


class PortraitSqliteOnlineStore(OnlineStore, SqliteOnlineStore):  # type: ignore[misc]  # Feast ships no types
    """One connection a thread, WAL, and an upsert that only a greater (position, as_of) wins."""

    kind = "SQLite"
    reads_async = False
    has_tables = True
    held_how = "size of the database file after a checkpoint"

    def __init__(self) -> None:
        self._local = threading.local()
        self._pinned: str | None = None  # the only file that may take writes

    def read_vectors(self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int) -> VectorRows:
        """The stored vectors of these users, in this order."""
        keys = user_keys(user_ids)
        stored: dict[bytes, tuple[bytes, tuple[int, ...]]] = {}
        for start in range(0, len(keys), CHUNK):
            rows = self._select(config, view, [VECTOR], keys[start : start + CHUNK])
            stored |= {row[0]: (row[2], row[3:]) for row in rows if row[2]}
        found = [stored.get(key, NOTHING) for key in keys]
        order = np.array([entry[1] for entry in found if entry is not NOTHING], np.int64).reshape(-1, 3)
        return vector_rows([entry[0] for entry in found], order, dimension)

    def read_vector(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """The stored vector of a user, None without one; costs a third of `read_vectors` for one user."""
        for _, _, value, *order in self._select(config, view, [VECTOR], user_keys([user_id])):
            if value:
                return VectorRow(decode_vector(value, dimension), *order)
        return None

    async def read_vectors_async(
        self, config: RepoConfig, view: str, user_ids: Sequence[str], dimension: int
    ) -> VectorRows:
        """`read_vectors` in a thread."""
        return await asyncio.to_thread(self.read_vectors, config, view, user_ids, dimension)

    async def read_vector_async(self, config: RepoConfig, view: str, user_id: str, dimension: int) -> VectorRow | None:
        """`read_vector` in a thread."""
        return await asyncio.to_thread(self.read_vector, config, view, user_id, dimension)

    def make_places(self, config: RepoConfig, views: Sequence[FeatureView]) -> None:
        """Make the tables that are missing."""
        self.update(config, [], views, [], [], True)

    def write_rows(self, config: RepoConfig, view: str, rows: Iterable[Row]) -> int:
        """Write rows that are newer than the stored ones, a short transaction at a time."""
        won, kept_out = 0, 0
        connection, table = self._get_conn(config), _table(config, view)
        self._require_pinned(config)
        for chunk in chunks(rows, CHUNK):
            with self._explain_errors(config, view), _transaction(connection):
                _add_order_columns(connection, table)
                let_in = _admitted_rows(connection, chunk)
                kept_out += len(chunk) - len(let_in)
                won += _upsert(connection, table, let_in)
        require_none_kept_out(kept_out)
        return won

    def raise_fences(self, config: RepoConfig, fences: Iterable[Fence], store: str | None = None) -> None:
        """Let in from now on only rows of these epochs to these buckets; a fence never goes back."""
        connection = self._get_conn(config)
        self._require_pinned(config)
        with self._explain_errors(config, FENCES), _transaction(connection):
            mark = _mark(connection)
            require_same_store(store is None or (mark is not None and mark.store == store))
            connection.execute(MAKE_FENCES)
            connection.executemany(RAISE, list(fences))

    def pin_server(self, config: RepoConfig) -> str:
        """Let from now on no other file take writes under the path of this one."""
        self._pinned = None
        self._get_conn(config)
        self._pinned = _file_id(self._get_db_path(config))
        return self._pinned

    def unpin_server(self, config: RepoConfig) -> None:
        """Let any server or file answer again."""
        self._pinned = None

    def read_mark(self, config: RepoConfig) -> StoreMark | None:
        """The mark of the store; None without one."""
        with self._explain_errors(config, MARKS):
            return _mark(self._get_conn(config))

    def write_mark(self, config: RepoConfig, mark: StoreMark) -> None:
        """Set the mark; another store's lowers all fences."""
        connection = self._get_conn(config)
        with self._explain_errors(config, MARKS), _transaction(connection):
            known = _mark(connection)
            if known is not None and known.store == mark.store:
                connection.execute(f"UPDATE {MARKS} SET beat = max(beat, ?)", (mark.beat,))
                return
            for statement in (MAKE_FENCES, f"DELETE FROM {FENCES}", MAKE_MARKS, f"DELETE FROM {MARKS}"):
                connection.execute(statement)
            connection.execute(f"INSERT INTO {MARKS} (instance, store, beat) VALUES (?, ?, ?)", mark)

    def evicts(self, config: RepoConfig) -> bool:
        """Never: a file keeps its rows."""
        return False

    def users(self, config: RepoConfig) -> Iterator[list[str]]:
        """Ids of all users of whom something is stored, view by view."""
        connection = self._get_conn(config)
        for view in _views(connection, config):
            last = b""
            query = f"SELECT DISTINCT entity_key FROM {_table(config, view)} WHERE entity_key > ? ORDER BY 1 LIMIT ?"
            while True:
                with self._explain_errors(config, view):
                    keys = [key for (key,) in connection.execute(query, (last, CHUNK)).fetchall()]
                if not keys:
                    break
                yield [user for user in map(user_of_key, keys) if user is not None]
                last = keys[-1]

    def clear(self, config: RepoConfig, kept: Mapping[str, Sequence[str]]) -> None:
        """Delete all rows of users in the views that are not kept."""
        connection = self._get_conn(config)
        for view in _views(connection, config):
            if view not in kept:
                with self._explain_errors(config, view), _transaction(connection):
                    keys = connection.execute(f"SELECT DISTINCT entity_key FROM {_table(config, view)}").fetchall()
                    mine = [(key,) for (key,) in keys if user_of_key(key) is not None]
                    connection.executemany(f"DELETE FROM {_table(config, view)} WHERE entity_key = ?", mine)

    def read_rows(
        self, config: RepoConfig, view: str, keys: Sequence[bytes], features: Sequence[str]
    ) -> list[Row | None]:
        """The stored rows of entities, with those of the features that are stored; None where nothing is stored."""
        found: dict[bytes, Row] = {}
        for start in range(0, len(keys), CHUNK):
            for row in self._select(config, view, features, keys[start : start + CHUNK]):
                key, feature, value, *order = row
                found.setdefault(key, Row(key, {}, Order(*order))).values[feature] = value
        return [found.get(key) for key in keys]

    def count_rows(self, config: RepoConfig, view: str, feature: str = VECTOR) -> int:
        """Number of entities with this feature."""
        with self._explain_errors(config, view):
            table = _table(config, view)
            query = f"SELECT count(*) FROM {table} WHERE feature_name = ?"
            count: int = self._get_conn(config).execute(query, (feature,)).fetchone()[0]
        return count

    def has_view(self, config: RepoConfig, view: str) -> bool:
        """Whether the store has a place for rows of a view: its table."""
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?"
        with self._explain_errors(config, view):
            return bool(self._get_conn(config).execute(query, (f"{config.project}_{view}",)).fetchone()[0])

    def delete_rows(self, config: RepoConfig, view: str, features: Sequence[str]) -> Iterator[int]:
        """Delete a view's rows of every entity, a short transaction at a time.

        All features of the table go; a row counts by the first of `features`.
        """
        connection, table = self._get_conn(config), _table(config, view)
        chunk = DELETE.format(table=table)
        while True:
            with self._explain_errors(config, view), _transaction(connection):
                if not self.has_view(config, view):
                    return
                deleted = [feature for (feature,) in connection.execute(chunk, (CHUNK,)).fetchall()]
            if not deleted:
                return
            yield deleted.count(features[0])
            time.sleep(GIVE_WAY_SECONDS)

    def delete_feature(self, config: RepoConfig, view: str, feature: str) -> None:
        """Delete one feature of a view, a short transaction at a time."""
        connection, chunk = self._get_conn(config), DELETE_FEATURE.format(table=_table(config, view))
        while self.has_view(config, view):
            with self._explain_errors(config, view), _transaction(connection):
                deleted = connection.execute(chunk, (feature, CHUNK)).rowcount
            if not deleted:
                return
            time.sleep(GIVE_WAY_SECONDS)

    def views_of(self, config: RepoConfig, user_id: str) -> list[str]:
        """Names of the views that hold something of a user."""
        connection, [key] = self._get_conn(config), user_keys([user_id])
        with self._explain_errors(config, "any"):
            return [
                view
                for view in _views(connection, config)
                if connection.execute(f"SELECT 1 FROM {_table(config, view)} WHERE entity_key = ?", (key,)).fetchone()
            ]

    def delete_users(
        self, config: RepoConfig, user_ids: Sequence[str], kept: Mapping[str, Sequence[str]] = NONE_KEPT
    ) -> None:
        """Delete everything that is stored of these users, except in the kept views; their bytes are overwritten."""
        keys = [(key,) for key in user_keys(user_ids)]
        with self._explain_errors(config, "any"), closing(_connect(self._get_db_path(config))) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            with _transaction(connection):
                for view in {*_views(connection, config)} - kept.keys():
                    connection.executemany(f"DELETE FROM {_table(config, view)} WHERE entity_key = ?", keys)

    def purge(self, config: RepoConfig) -> list[str]:
        """Rewrite the database without deleted bytes; returns a sentence for each thing that failed."""
        return compact(Path(self._get_db_path(config)))

    def held_bytes(self, config: RepoConfig, user_ids: Sequence[str]) -> int:
        """Bytes of the whole database, tables with their indices, so it should be the project's own.

        That is the size of its file once the write-ahead log is worked in.
        """
        connection = self._get_conn(config)
        with self._explain_errors(config, "any"):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        held: int = pages * size
        return held

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        """Delete the database; connections of other threads end with them."""
        self._get_conn(config).close()
        self._local = threading.local()
        super().teardown(config, tables, entities)

    def _get_conn(self, config: RepoConfig) -> sqlite3.Connection:
        # Keyed by the parts of the path: joining them takes as long as reading a row.
        place = f"{config.repo_path}\n{config.online_store.path}"
        connections: dict[str, tuple[sqlite3.Connection, str, str]] = self._local.__dict__
        known = connections.get(place)
        if known is not None and known[2] != _file_id(known[1]):  # exchanged: the old file would answer for ever
            known[0].close()
            known = None
        if known is None:
            path = self._get_db_path(config)
            connections[place] = known = _connect(path), path, _file_id(path)
        return known[0]

    def _require_pinned(self, config: RepoConfig) -> None:
        if self._pinned is not None and self._pinned != _file_id(path := self._get_db_path(config)):
            raise Unavailable(f"the online store {path} is another file than before")

    def _select(
        self, config: RepoConfig, view: str, features: Sequence[str], keys: Sequence[bytes]
    ) -> list[tuple[Any, ...]]:
        query = (
            f"SELECT entity_key, feature_name, value, position, as_of, computed_at FROM {_table(config, view)} "
            f"WHERE feature_name IN ({_marks(features)}) AND entity_key IN ({_marks(keys)})"
        )
        with self._explain_errors(config, view):
            try:
                return self._get_conn(config).execute(query, [*features, *keys]).fetchall()
            except sqlite3.OperationalError as error:
                if "no such column" in str(error):  # Feast made the table, nothing was written yet
                    return []
                raise

    @contextmanager
    def _explain_errors(self, config: RepoConfig, view: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            remedy = "run `portrait apply`" if "no such table" in str(error) else "is another program using it?"
            path = self._get_db_path(config)
            raise Unavailable(f"the online store {path} failed for view {view}: {error}; {remedy}") from error


def _admitted_rows(connection: sqlite3.Connection, rows: list[Row]) -> list[Row]:
    """The rows that no fence keeps out."""
    if all(row.fence is None for row in rows):
        return rows
    connection.execute(MAKE_FENCES)  # a database that replaced another has no fences yet
    raised = dict(connection.execute(f"SELECT bucket, epoch FROM {FENCES}"))
    return [row for row in rows if row.fence is None or raised.get(row.fence.bucket) == row.fence.epoch]


def _mark(connection: sqlite3.Connection) -> StoreMark | None:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (MARKS,)).fetchone():
        return None
    row = connection.execute(f"SELECT instance, store, beat FROM {MARKS}").fetchone()
    return StoreMark(*row) if row else None


def _file_id(path: str) -> str:
    """What tells a file from another one that takes its place; empty without a file."""
    try:
        found = os.stat(path)  # noqa: PTH116  # half the time of Path.stat, on the way of every read
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _upsert(connection: sqlite3.Connection, table: str, rows: list[Row]) -> int:
    """Write each feature of each row; returns how many rows won (all features of a row share its order)."""
    won = 0
    for feature in {name: None for row in rows for name in row.values}:
        changed = connection.executemany(
            UPSERT.format(table=table),
            (
                (
                    key,
                    feature,
                    values[feature],
                    order.as_of // MICROSECONDS,  # Feast's own columns hold whole seconds
                    order.computed_at // MICROSECONDS,
                    order.position,
                    order.as_of,
                    order.computed_at,
                )
                for key, values, order, _ in rows
                if feature in values
            ),
        ).rowcount
        won = max(won, changed)
    return won


def _add_order_columns(connection: sqlite3.Connection, table: str) -> None:
    # Here and not where tables are made: `feast apply` makes them by Feast's own class.
    present = {column[1] for column in connection.execute(f"PRAGMA table_info({table})")}
    if present:
        for column in ORDER_COLUMNS.keys() - present:
            connection.execute(
                f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT {ORDER_COLUMNS[column]}"
            )


def _connect(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Types are detected for the inherited `online_read`; a thread keeps its connection to itself.
    connection = sqlite3.connect(
        path, timeout=30, isolation_level=None, detect_types=sqlite3.PARSE_DECLTYPES, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA mmap_size = {MAPPED_BYTES}")
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _views(connection: sqlite3.Connection, config: RepoConfig) -> list[str]:
    prefix = f"{config.project}_"
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    return [name.removeprefix(prefix) for (name,) in tables if name.startswith(prefix)]


def _table(config: RepoConfig, view: str) -> str:
    return '"' + f"{config.project}_{view}".replace('"', '""') + '"'


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
