"""Redis Streams as the broker: `portrait:<project>:stream:<bucket>`, each entry with one field `r`, the record's JSON.

A server that must not lose what it has acknowledged needs `appendonly yes` and `appendfsync always`: with `everysec` it
may acknowledge before it writes while a sync of its file is under way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import redis
from sqlalchemy import make_url

from portrait.feature_repo.broker.broker import Broker, StreamEntry
from portrait.feature_repo.online.redis_files import purge
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import InvalidInput, Unavailable

PROJECT = "portrait"
FIELD = b"r"
CHUNK = 1_000
PATIENCE = 10.0
"""Seconds that a silent server is waited for."""


def stream_key(bucket: int, project: str = PROJECT) -> str:
    return f"portrait:{project}:stream:{bucket}"


class RedisStreams:
    """Streams on a single server, not on a cluster; records that are appended together go in one transaction."""

    def __init__(self, url: str, project: str = PROJECT) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE)
        self._shown = make_url(url).render_as_string(hide_password=True)
        self._project = project

    def append(self, records: Sequence[tuple[int, bytes]]) -> None:
        """Append all records in one transaction."""
        with self._explain_errors(), self._client.pipeline(transaction=True) as pipeline:
            for bucket, record in records:
                pipeline.xadd(self._key(bucket), {FIELD: record})
            pipeline.execute()

    def read(self, positions: Mapping[int, str], count: int, wait_ms: int) -> list[StreamEntry]:
        buckets = {self._key(bucket).encode(): bucket for bucket in positions}
        streams: dict[Any, Any] = {self._key(bucket): position for bucket, position in positions.items()}
        if not streams:
            return []
        with self._explain_errors():
            # To Redis, waiting for 0 ms is waiting for ever.
            found = self._client.xread(streams, count=count, block=wait_ms or None)
        return [
            StreamEntry(buckets[key], id.decode(), _record(fields))
            for key, entries in found or ()
            for id, fields in entries
        ]

    def trim(self, positions: Mapping[int, str]) -> None:
        with self._explain_errors(), self._client.pipeline(transaction=False) as pipeline:
            for bucket, position in positions.items():
                pipeline.xtrim(self._key(bucket), minid=_id_after(position), approximate=False)
            pipeline.execute()

    def length(self, bucket: int) -> int:
        with self._explain_errors():
            return int(self._client.xlen(self._key(bucket)))

    def delete(self, bucket: int, matches: Callable[[bytes], bool]) -> int:
        """Delete the entries whose record matches, also those that are appended meanwhile; returns how many."""
        deleted, start = 0, "-"
        with self._explain_errors():
            while entries := self._client.xrange(self._key(bucket), min=start, count=CHUNK):
                ids = [id for id, fields in entries if matches(_record(fields))]
                if ids:
                    deleted += int(self._client.xdel(self._key(bucket), *ids))
                start = "(" + entries[-1][0].decode()
            if self._client.exists(self._key(bucket)):
                self._write_anew(self._key(bucket))
        return deleted

    def purge(self) -> list[str]:
        """Have the server rewrite its files; returns a sentence for each thing that failed."""
        with self._explain_errors():
            return purge(self._client)

    def close(self) -> None:
        self._client.close()

    def _write_anew(self, key: str) -> None:
        """Move the remaining entries to a new stream, with the same ids.

        Redis only marks deleted and trimmed entries in a stream.
        """

        def rewrite(pipeline: redis.client.Pipeline) -> None:
            entries = pipeline.xrange(key)
            last = pipeline.xinfo_stream(key)["last-generated-id"]
            pipeline.multi()
            pipeline.delete(key)
            for id, fields in entries:
                pipeline.xadd(key, fields, id=id)
            if not entries or entries[-1][0] != last:  # a later entry must not get an id that was read already
                pipeline.xadd(key, {FIELD: b""}, id=last)
                pipeline.xdel(key, last)
            pipeline.execute()

        self._client.transaction(rewrite, key)  # tried again when entries were appended in between

    def _key(self, bucket: int) -> str:
        return stream_key(bucket, self._project)

    @contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise Unavailable(f"the broker at {self._shown} does not answer: {error}") from error


def _record(fields: Mapping[bytes, bytes] | None) -> bytes:
    """The record of an entry. An entry of another format gives its fields as JSON, which is no record."""
    fields = fields or {}
    if FIELD not in fields:
        return orjson.dumps([[part.decode(errors="backslashreplace") for part in pair] for pair in fields.items()])
    return fields[FIELD]


def _id_after(position: str) -> str:
    milliseconds, _, sequence = position.partition("-")
    return f"{milliseconds}-{int(sequence or 0) + 1}"


def open_broker(settings: FeatureSettings) -> Broker | None:
    """The broker of the settings; None when records go straight into the inbox.

    Raises InvalidInput for another kind of server.
    """
    if not settings.broker_url:
        return None
    url = make_url(settings.broker_url)
    if url.drivername not in ("redis", "rediss"):
        shown = url.render_as_string(hide_password=True)
        raise InvalidInput(f"PORTRAIT_BROKER_URL {shown}: use redis://host:port/db, or leave it empty for none")
    return RedisStreams(settings.broker_url)
