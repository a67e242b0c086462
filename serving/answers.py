"""Answers as bytes: JSON by orjson, whose float32 read back bit for bit, or an Arrow stream."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from fastapi import Response

from feature_repo.schemas import TIME, from_microseconds
from serving.batch import EmbeddingBatch

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"


def single(batch: EmbeddingBatch, accept: str) -> Response:
    """The answer for one user: an object, or a stream of one row."""
    if ARROW in accept:
        return Response(as_arrow(batch), media_type=ARROW)
    return Response(orjson.dumps(next(_rows(batch)), option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def several(batch: EmbeddingBatch, accept: str) -> Response:
    """The answer for a list of users, in their order."""
    if ARROW in accept:
        return Response(as_arrow(batch), media_type=ARROW)
    return Response(as_json(batch), media_type=JSON)


def as_json(batch: EmbeddingBatch) -> bytes:
    """`{"embeddings": [...]}`, one object a user."""
    return orjson.dumps({"embeddings": list(_rows(batch))}, option=orjson.OPT_SERIALIZE_NUMPY)


def _rows(batch: EmbeddingBatch) -> Iterator[dict[str, Any]]:
    # What rows share is looked up and formatted once; orjson takes each float32 row as it is.
    version, fingerprint, lane = batch.version, batch.fingerprint, batch.lane
    vectors = np.ascontiguousarray(batch.vectors)
    times = map(_formatted, batch.as_of.tolist())
    columns = zip(batch.user_ids, vectors, batch.source, times, batch.age_seconds.tolist(), strict=True)
    for user, vector, source, as_of, age in columns:
        yield {
            "user_id": user,
            "vector": vector,
            "version": version,
            "fingerprint": fingerprint,
            "lane": lane,
            "source": source,
            "as_of": as_of,
            "age_seconds": age,
        }


@lru_cache(maxsize=4096)  # the users of a backfill share one as-of time
def _formatted(time: int) -> str:
    """Microseconds as RFC 3339."""
    return from_microseconds(time).isoformat().replace("+00:00", "Z")


def schema(dimension: int) -> pa.Schema:
    """Columns of an Arrow answer."""
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("vector", pa.list_(pa.float32(), dimension)),
            ("version", pa.string()),
            ("fingerprint", pa.string()),
            ("lane", pa.string()),
            ("source", pa.string()),
            ("as_of", TIME),
            ("age_seconds", pa.float64()),
        ]
    )


def as_record_batch(batch: EmbeddingBatch) -> pa.RecordBatch:
    """The answer in columns; the vectors are not copied."""
    rows, dimension = batch.vectors.shape
    flat = pa.array(np.ascontiguousarray(batch.vectors).reshape(-1), pa.float32())
    columns = [
        pa.array(batch.user_ids, pa.string()),
        pa.FixedSizeListArray.from_arrays(flat, dimension),
        *(pa.repeat(text, rows) for text in (batch.version, batch.fingerprint, batch.lane)),
        pa.array(batch.source, pa.string()),
        pa.array(batch.as_of, pa.int64()).cast(TIME),
        pa.array(batch.age_seconds, pa.float64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema(dimension))


def as_arrow(batch: EmbeddingBatch) -> bytes:
    """The answer as an Arrow IPC stream; bytes, as Serve's own proxy pickles what it passes on."""
    sink = pa.BufferOutputStream()
    columns = as_record_batch(batch)
    with pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_batch(columns)
    content: bytes = sink.getvalue().to_pybytes()
    return content
