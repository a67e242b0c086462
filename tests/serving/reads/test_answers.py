"""Answers: JSON and Arrow keep every bit of the vectors."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from portrait.serving.reads import answers
from portrait.serving.reads.embedding_batch import EmbeddingBatch, SplitBatch

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
matrices = arrays(np.float32, st.tuples(st.integers(0, 4), st.integers(1, 6)), elements=finite)


def batch(vectors: np.ndarray, as_of: int = 1_700_000_000_123_456, lane: str = "stable") -> EmbeddingBatch:
    n = len(vectors)
    users = [f"{lane}{row}" for row in range(n)]
    version, fingerprint = ("autoencoder-1", "f") if lane == "stable" else ("autoencoder-2", "a")
    return EmbeddingBatch(
        users, vectors, version, fingerprint, lane, ["stored"] * n, np.full(n, as_of), np.full(n, 1.5),
        np.zeros(n, bool),
    )  # fmt: skip


def split(mask: list[bool], stable_dimension: int, canary_dimension: int) -> SplitBatch:
    rng, there = np.random.default_rng(1), np.array(mask)
    shapes = ((int((~there).sum()), stable_dimension), (int(there.sum()), canary_dimension))
    stable, canary = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return SplitBatch(batch(stable), batch(canary, lane="canary"), there)


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


@pytest.mark.parametrize("dimensions", [(4, 4), (4, 6)])
def test_rows_of_two_versions_are_back_in_order_with_their_own_names_and_bits(dimensions: tuple[int, int]) -> None:
    mask = [True, False, False, True, True, False, False]
    answer = split(mask, *dimensions)
    vectors = {user: vector for part in answer.parts for user, vector in zip(part.user_ids, part.vectors, strict=True)}
    users = ["canary0", "stable0", "stable1", "canary1", "canary2", "stable2", "stable3"]
    with pa.ipc.open_stream(answers.as_arrow(answer)) as stream:
        table = stream.read_all()
    fixed = dimensions[0] == dimensions[1]
    assert table.schema.field("vector").type == (pa.list_(pa.float32(), 4) if fixed else pa.list_(pa.float32()))
    for rows in (json.loads(answers.as_json(answer))["embeddings"], table.to_pylist()):
        assert [row["user_id"] for row in rows] == users
        assert [row["lane"] for row in rows] == ["canary" if there else "stable" for there in mask]
        assert [row["version"] for row in rows] == [f"autoencoder-{2 if there else 1}" for there in mask]
        assert [row["fingerprint"] for row in rows] == ["a" if there else "f" for there in mask]
        for row in rows:
            assert np.array(row["vector"], np.float32).tobytes() == vectors[row["user_id"]].tobytes()


def test_vectors_of_one_version_are_not_copied() -> None:
    vectors = np.ones((3, 4), np.float32)
    flat = answers.as_record_batch(batch(vectors)).column("vector").flatten()
    assert flat.buffers()[1].address == vectors.ctypes.data
