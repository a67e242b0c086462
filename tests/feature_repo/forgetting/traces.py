"""Traces of an id: a search in every file of a home, every table and every key of Redis."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import redis
from sqlalchemy import create_engine, inspect, text

from portrait.infra.portrait import Portrait


def traces(portrait: Portrait, *ids: str) -> list[str]:
    """Every place where one of the ids is left."""
    found = [*_in_files(portrait.settings.home, ids)]
    for url in {portrait.settings.registry_url, portrait.settings.feast_registry_url} - {""}:
        found += _in_tables(url, ids)
    if portrait.settings.online_store_url:
        found += _in_redis(portrait.settings.online_store_url, ids)
    return found


def _in_files(home: Path, ids: tuple[str, ...]) -> Iterator[str]:
    # All of them are read first: looking into a database makes and removes files beside it.
    contents = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    for path, content in contents.items():
        texts = [content, *(_decoded(path) if content.startswith(b"PAR1") else ())]
        yield from (f"{path.relative_to(home)}" for one in ids if any(one.encode() in text for text in texts))
        if content.startswith(b"SQLite format 3"):  # and what its tables say, should it keep them packed
            yield from _in_tables(f"sqlite:///{path}", ids)


def _decoded(path: Path) -> Iterator[bytes]:
    for column in pq.read_table(path, partitioning=None).columns:
        while pa.types.is_list(column.type):
            column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            yield "\n".join(value or "" for value in column.to_pylist()).encode()


def _in_tables(url: str, ids: tuple[str, ...]) -> Iterator[str]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        for table in inspect(engine).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):
                cells = b"\n".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
                yield from (f"table {table}" for one in ids if one.encode() in cells)
    engine.dispose()


def _in_redis(url: str, ids: tuple[str, ...]) -> Iterator[str]:
    client = redis.Redis.from_url(url)
    for key in client.scan_iter():
        content = b"\n".join([key, *(part for item in client.hgetall(key).items() for part in item)])
        yield from (f"key {key!r}" for one in ids if one.encode() in content)
    client.close()
