"""Columns of another type than a model was trained on: read where that loses nothing, else named."""

import numpy as np
import pyarrow as pa
import pytest

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema
from portrait.feature_repo.schemas import HISTORY, PROFILE_FIXED
from portrait.registry.errors import InvalidInput
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.encoding.vocabulary import Vocabulary

SCHEMA = InputSchema(
    4, (Field("age", FieldKind.NUMBER), Field("plan", FieldKind.CATEGORY)), (Field("t__taste", FieldKind.VECTOR, 2),)
)


def users(age: pa.Array, plan: pa.Array, taste: pa.Array) -> pa.Table:
    count = len(age)
    fixed = {f.name: f.type for f in (*HISTORY, *PROFILE_FIXED)}
    columns = {name: pa.nulls(count, kind) for name, kind in fixed.items()}
    columns |= {"user_id": pa.array([f"u{n}" for n in range(count)]), "age": age, "plan": plan, "t__taste": taste}
    return pa.table(columns)


def batcher() -> Batcher:
    items = Vocabulary([])
    return Batcher(SCHEMA, Vocabularies(items, items, items, {"plan": Vocabulary(["5", "gold"])}), onboarding=False)


def test_what_loses_nothing_is_read() -> None:
    taste = pa.array([[1.0, 1e300], [0.5, 2.0], None])
    given = users(pa.array(["31", None, "1.5"]), pa.array([5, None, 7]), taste)
    arrays = batcher().arrays(given, 0)
    np.testing.assert_array_equal(arrays.numbers["age"], [31, np.nan, 1.5])
    np.testing.assert_array_equal(arrays.categories["plan"], [0, -1, -1])
    np.testing.assert_array_equal(arrays.vectors["t__taste"], [[np.nan, np.nan], [0.5, 2], [np.nan, np.nan]])


def test_whole_numbers_beyond_a_doubles_digits() -> None:
    given = users(pa.array([2**53 + 1, -(2**63), None]), pa.nulls(3, pa.string()), pa.nulls(3))
    np.testing.assert_array_equal(batcher().arrays(given, 0).numbers["age"], [2.0**53, -(2.0**63), np.nan])


@pytest.mark.parametrize(
    ("column", "values", "shown"),
    [
        ("age", pa.array(["31", None, "old"]), "'old' of user 'u2'"),
        ("age", pa.array([[1], None, [2]]), r"'\[1\]' of user 'u0'"),
        ("plan", pa.array([None, ["a"], None]), r"\"\['a'\]\" of user 'u1'"),
        ("t__taste", pa.array([None, 1.5, None]), "'1.5' of user 'u1'"),
        ("t__taste", pa.array([["1", "2"], ["a", "b"], None]), "user 'u1'"),
    ],
)
def test_what_cannot_be_read_is_named(column: str, values: pa.Array, shown: str) -> None:
    given = users(pa.nulls(3, pa.int64()), pa.nulls(3, pa.string()), pa.nulls(3))
    given = given.set_column(given.column_names.index(column), column, values)
    with pytest.raises(InvalidInput, match=f"the column '{column}' holds .*{shown}"):
        batcher().arrays(given, 0)
