import json

import pyarrow as pa
import pytest

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema, profile_fields
from portrait.feature_repo.schemas import PROFILE_FIXED
from portrait.registry.errors import InvalidInput

COUNTRY = Field("country", FieldKind.CATEGORY)
AGE = Field("age", FieldKind.NUMBER)
TASTE = Field("team__taste", FieldKind.VECTOR, 8)


def test_survives_json() -> None:
    schema = InputSchema(256, profile=(COUNTRY, AGE), team=(TASTE,))
    assert InputSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_order_of_declaration_does_not_matter() -> None:
    assert InputSchema(256, profile=(COUNTRY, AGE)) == InputSchema(256, profile=(AGE, COUNTRY))


def test_exclude_drops_fields_of_both_sorts() -> None:
    schema = InputSchema(256, profile=(COUNTRY, AGE), team=(TASTE,))
    assert schema.exclude(["country", "team__taste", "onboarding_items"]) == InputSchema(256, profile=(AGE,))


def test_exclude_names_the_unknown_field_and_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"\['contry'\].*\['country'\]"):
        InputSchema(256, profile=(COUNTRY,)).exclude(["contry"])


def test_refuses_two_fields_of_one_name_and_odd_fields() -> None:
    with pytest.raises(InvalidInput, match="share a name"):
        InputSchema(256, profile=(COUNTRY,), team=(COUNTRY,))
    with pytest.raises(InvalidInput, match="'colour'"):
        Field("country", "colour")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="length 3"):
        Field("country", FieldKind.CATEGORY, 3)


def test_profile_fields_are_the_further_columns() -> None:
    schema = pa.schema([*PROFILE_FIXED, ("country", pa.string()), ("age", pa.int64()), ("paying", pa.bool_())])
    kinds = {field.name: field.kind for field in profile_fields(schema)}
    assert kinds == {"country": "category", "age": "number", "paying": "category"}
