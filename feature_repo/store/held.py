"""What an online store really holds, in bytes: asked of the store itself."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

from feast import RepoConfig

from portrait.feature_repo.online.codec import user_keys
from portrait.feature_repo.online.redis import PortraitRedisOnlineStore
from portrait.feature_repo.online.sqlite import PortraitSqliteOnlineStore

AT_ONCE = 1_000  # keys a round trip

SOURCES = {
    PortraitSqliteOnlineStore: "size of the database file after a checkpoint",
    PortraitRedisOnlineStore: "MEMORY USAGE of every user's hash, all fields sampled",
}
"""By kind of store, how the bytes are told."""


def held_bytes(
    store: PortraitSqliteOnlineStore | PortraitRedisOnlineStore, config: RepoConfig, users: Sequence[str]
) -> int:
    """Bytes of a project's rows of these users.

    SQLite: pages of the whole database, tables with their indices, which is the size of its file once the write-ahead
    log is worked in; so the database should be the project's own. Redis: what the server says of each user's hash.
    """
    if isinstance(store, PortraitRedisOnlineStore):
        return _of_redis(store, config, users)
    with closing(sqlite3.connect(config.online_store.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    held: int = pages * size
    return held


def _of_redis(store: PortraitRedisOnlineStore, config: RepoConfig, users: Sequence[str]) -> int:
    client, project = store._get_client(config.online_store), config.project.encode()
    total = 0
    for start in range(0, len(users), AT_ONCE):
        with client.pipeline(transaction=False) as pipeline:
            for key in user_keys(users[start : start + AT_ONCE]):
                pipeline.memory_usage(key + project, samples=0)
            total += sum(held or 0 for held in pipeline.execute())
    return total
