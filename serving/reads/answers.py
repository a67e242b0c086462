"""Answers as bytes: JSON by orjson, whose float32 read back bit for bit, or an Arrow stream."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from fastapi import Response

from portrait.feature_repo.schemas import TIME, from_microseconds
from portrait.serving.reads.embedding_batch import STORED, Answer, EmbeddingBatch, StoredEmbedding

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
NONE: Mapping[int, str] = {}


def stored_response(one: StoredEmbedding) -> Response:
    """The response for one user whose vector is stored, as JSON."""
    user, vector, version, fingerprint, lane, as_of, age = one
    row = {
        "user_id": user,
        "vector": vector,
        "version": version,
        "fingerprint": fingerprint,
        "lane": lane,
        "source": STORED,
        "as_of": _time_text(as_of),
        "age_seconds": age,
        "stale": False,
    }
    return Response(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def single_response(answer: Answer, accept: str) -> Response:
    """The response for one user: a JSON object, or an Arrow stream of one row if `accept` names Arrow."""
    if ARROW in accept:
        return Response(as_arrow(answer), media_type=ARROW)
    (row,) = answer.rows(_rows)
    return Response(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def batch_response(answer: Answer, accept: str, rejected: Mapping[int, str] = NONE) -> Response:
    """The response for a list of users, in their order: JSON, or an Arrow stream if `accept` names Arrow.

    `rejected` has the places of ids that could not be looked up, with the reasons; their rows are null, so that all
    others keep the place they were asked for at.
    """
    if ARROW in accept:
        return Response(as_arrow(answer, rejected), media_type=ARROW)
    return Response(as_json(answer, rejected), media_type=JSON)


def as_json(answer: Answer, rejected: Mapping[int, str] = NONE) -> bytes:
    """The answer as JSON: `{"embeddings": [...]}` with one object a user, and `rejected` where there is any."""
    body: dict[str, Any] = {"embeddings": list(answer.rows(_rows))}
    if rejected:
        rows = iter(body["embeddings"])
        places = range(len(answer) + len(rejected))
        body = {
            "embeddings": [None if place in rejected else next(rows) for place in places],
            "rejected": rejected_rows(rejected),
        }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def rejected_rows(rejected: Mapping[int, str]) -> list[dict[str, Any]]:
    """The ids that were not looked up, each with its place and the reason."""
    return [{"index": index, "reason": reason} for index, reason in sorted(rejected.items())]


def _rows(batch: EmbeddingBatch) -> Iterator[dict[str, Any]]:
    # The values that all rows share are read once; orjson takes each float32 row as it is.
    version, fingerprint, lane = batch.version, batch.fingerprint, batch.lane
    vectors = np.ascontiguousarray(batch.vectors)
    times = map(_time_text, batch.as_of.tolist())
    ages, stale = batch.age_seconds.tolist(), batch.stale.tolist()
    columns = zip(batch.user_ids, vectors, batch.source, times, ages, stale, strict=True)
    for user, vector, source, as_of, age, is_stale in columns:
        yield {
            "user_id": user,
            "vector": vector,
            "version": version,
            "fingerprint": fingerprint,
            "lane": lane,
            "source": source,
            "as_of": as_of,
            "age_seconds": age,
            "stale": is_stale,
        }


@lru_cache(maxsize=4096)  # the users of a backfill share one as-of time
def _time_text(time: int) -> str:
    """Microseconds since 1970 as RFC 3339, in UTC."""
    return from_microseconds(time).isoformat().replace("+00:00", "Z")


@lru_cache(maxsize=64)
def schema(vector: pa.DataType) -> pa.Schema:
    """The schema of an Arrow answer whose vectors have this type."""
    return pa.schema(
        [
            ("user_id", pa.string()),
            ("vector", vector),
            ("version", pa.string()),
            ("fingerprint", pa.string()),
            ("lane", pa.string()),
            ("source", pa.string()),
            ("as_of", TIME),
            ("age_seconds", pa.float64()),
            ("stale", pa.bool_()),
        ]
    )


def as_record_batch(answer: Answer) -> pa.RecordBatch:
    """The answer in columns; vectors are lists of a fixed size where all have the same dimension.

    The vectors of one version are not copied.
    """
    if isinstance(answer, EmbeddingBatch):
        return _columns(answer)
    parts = [_columns(part) for part in answer.parts]
    if len({part.schema for part in parts}) > 1:  # two dimensions
        parts = [part.cast(schema(pa.list_(pa.float32()))) for part in parts]
    return pa.concat_batches(parts).take(pa.array(answer.order))


def _columns(batch: EmbeddingBatch) -> pa.RecordBatch:
    rows, dimension = batch.vectors.shape
    flat = pa.array(np.ascontiguousarray(batch.vectors).reshape(-1), pa.float32())
    vectors = pa.FixedSizeListArray.from_arrays(flat, dimension)
    columns = [
        pa.array(batch.user_ids, pa.string()),
        vectors,
        *(_constant_column(text, rows) for text in (batch.version, batch.fingerprint, batch.lane)),
        pa.array(batch.source, pa.string()),
        pa.array(batch.as_of, pa.int64()).view(TIME),
        pa.array(batch.age_seconds, pa.float64()),
        pa.array(batch.stale, pa.bool_()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema(vectors.type))


@lru_cache(maxsize=256)  # a client asks in batches of one size
def _constant_column(text: str, rows: int) -> pa.Array:
    return pa.repeat(text, rows)


def as_arrow(answer: Answer, rejected: Mapping[int, str] = NONE) -> bytes:
    """The answer as an Arrow IPC stream, in bytes, because Serve's own proxy pickles what it passes on.

    Rejected ids are rows of nulls; the schema's metadata has `rejected`, as JSON.
    """
    sink = pa.BufferOutputStream()
    columns = as_record_batch(answer)
    if rejected:
        rows = iter(range(len(answer)))
        places = [None if place in rejected else next(rows) for place in range(len(answer) + len(rejected))]
        columns = columns.take(pa.array(places, pa.int64()))
        columns = columns.replace_schema_metadata({"rejected": orjson.dumps(rejected_rows(rejected))})
    with pa.ipc.new_stream(sink, columns.schema) as writer:
        writer.write_batch(columns)
    content: bytes = sink.getvalue().to_pybytes()
    return content
