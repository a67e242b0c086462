"""The input schema of a representation model: the fields of a user beside the history, their kinds and lengths.

The schema travels with an artifact as JSON and is part of its fingerprint, so that an encoder only ever
reads columns that it was trained on.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import pyarrow as pa

from portrait.feature_repo.schemas import PROFILE_FIXED
from portrait.registry.errors import InvalidInput


class FieldKind(StrEnum):
    """How a model treats a field."""

    CATEGORY = "category"  # strings and booleans
    NUMBER = "number"  # integers, floats and time stamps (microseconds since 1970)
    VECTOR = "vector"  # fixed-length lists of float32


@dataclass(frozen=True, order=True)
class Field:
    """A column of `Snapshot.read`; `length` is the number of values of a vector, and 1 for the other kinds."""

    name: str
    kind: FieldKind
    length: int = 1

    def __post_init__(self) -> None:
        """Take kinds as plain text too; refuse fields that no model can use."""
        if self.kind not in set(FieldKind):
            raise InvalidInput(f"field {self.name!r} has the unknown kind {self.kind!r}: use {', '.join(FieldKind)}")
        object.__setattr__(self, "kind", FieldKind(self.kind))
        if self.length < 1 or (self.length > 1 and self.kind is not FieldKind.VECTOR):
            raise InvalidInput(f"field {self.name!r} of kind {self.kind} cannot have length {self.length}")


@dataclass(frozen=True)
class InputSchema:
    """The inputs of a representation model beside item vectors, each tuple in the order of names."""

    history_length: int
    profile: tuple[Field, ...] = ()
    team: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        """Sort the fields: the order in which they were declared must not change a fingerprint."""
        object.__setattr__(self, "profile", tuple(sorted(self.profile)))
        object.__setattr__(self, "team", tuple(sorted(self.team)))
        names = self.names
        if len(set(names)) != len(names):
            raise InvalidInput(f"two fields share a name: {sorted(names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all fields, profile first."""
        return tuple(field.name for field in (*self.profile, *self.team))

    def exclude(self, names: Collection[str]) -> Self:
        """The schema without these fields.

        `onboarding_items` may be excluded too: it is no field here, so the caller handles that name.
        Raises InvalidInput for a name that the schema does not have.
        """
        unknown = sorted(set(names) - set(self.names) - {"onboarding_items"})
        if unknown:
            raise InvalidInput(f"cannot exclude {unknown}: the fields are {sorted(self.names)}")
        return replace(
            self,
            profile=tuple(field for field in self.profile if field.name not in names),
            team=tuple(field for field in self.team if field.name not in names),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON document."""
        return {
            "history_length": self.history_length,
            "profile": [_field_json(field) for field in self.profile],
            "team": [_field_json(field) for field in self.team],
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        return cls(
            history_length=int(document["history_length"]),
            profile=tuple(Field(**field) for field in document["profile"]),
            team=tuple(Field(**field) for field in document["team"]),
        )


def profile_fields(schema: pa.Schema) -> tuple[Field, ...]:
    """The fields of the further columns of a profile schema (PROFILE_FIXED's own columns are no fields)."""
    return tuple(
        Field(column.name, kind_of(column.type)) for column in schema if column.name not in PROFILE_FIXED.names
    )


def kind_of(kind: pa.DataType) -> FieldKind:
    """How models treat a scalar column of this type.

    Raises InvalidInput for types that a profile cannot hold.
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind):
        return FieldKind.CATEGORY
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_temporal(kind):
        return FieldKind.NUMBER
    raise InvalidInput(
        f"a profile column of type {kind} cannot be fed to a model: use text, numbers, booleans or times"
    )


def _field_json(field: Field) -> dict[str, Any]:
    return {"name": field.name, "kind": str(field.kind), "length": field.length}
