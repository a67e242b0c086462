"""Answers keep every bit."""

import json

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serving import answers
from serving.batch import EmbeddingBatch

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 6)), elements=finite)


def batch(vectors: np.ndarray, as_of: int = 1_700_000_000_123_456) -> EmbeddingBatch:
    n = len(vectors)
    users = [f"u{row}" for row in range(n)]
    return EmbeddingBatch(
        users, vectors, "autoencoder-1", "f", "stable", ["stored"] * n, np.full(n, as_of), np.full(n, 1.5)
    )


@settings(deadline=None)
@given(matrices)
def test_json_and_arrow_give_the_same_bits_back(vectors: np.ndarray) -> None:
    rows = json.loads(answers.as_json(batch(vectors)))["embeddings"]
    for row, vector in zip(rows, vectors, strict=True):
        assert np.array(row["vector"], np.float32).tobytes() == vector.tobytes()
    with pa.ipc.open_stream(answers.as_arrow(batch(vectors))) as stream:
        column = stream.read_all().column("vector").combine_chunks()
    assert column.type == pa.list_(pa.float32(), vectors.shape[1])
    assert column.flatten().to_numpy().tobytes() == vectors.tobytes()


def test_a_matrix_that_is_not_contiguous() -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    rows = json.loads(answers.as_json(batch(vectors)))["embeddings"]
    assert [row["vector"] for row in rows] == vectors.tolist()


def test_times_are_rfc_3339_with_microseconds_and_also_before_1970() -> None:
    vectors = np.zeros((1, 1), np.float32)
    (row,) = json.loads(answers.as_json(batch(vectors)))["embeddings"]
    assert row["as_of"] == "2023-11-14T22:13:20.123456Z"
    (row,) = json.loads(answers.as_json(batch(vectors, -1)))["embeddings"]
    assert row["as_of"] == "1969-12-31T23:59:59.999999Z"
