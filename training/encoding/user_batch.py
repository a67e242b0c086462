"""The batcher from columns of `snapshot.read` to arrays: the only module that knows both."""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.declaration.input_schema import Field, FieldKind, InputSchema
from portrait.registry.errors import InvalidInput
from portrait.training.encoding.arrays import DAY_US, NO_TIME, Bool, Events, Float32, Float64, Int64, Picks, UserArrays
from portrait.training.encoding.encoding_times import times
from portrait.training.encoding.vocabulary import Codes, Vocabulary, item_id, item_keys, place_codes

Number = TypeVar("Number", bound=np.generic)
Read = TypeVar("Read")
HISTORY_COLUMNS = ("services", "item_ids", "actions", "weights", "event_times")


@dataclass(frozen=True)
class Vocabularies:
    """The vocabularies behind the codes of a model."""

    items: Vocabulary  # "service<US>item_id", the most used first
    services: Vocabulary
    actions: Vocabulary
    categories: dict[str, Vocabulary] = field(default_factory=dict)  # by column

    def to_json(self) -> dict[str, object]:
        """Plain values without the items, which are stored beside their vectors."""
        return {
            "services": self.services.values,
            "actions": self.actions.values,
            "categories": {name: vocabulary.values for name, vocabulary in self.categories.items()},
        }

    @classmethod
    def from_json(cls, document: dict[str, Any], items: list[str]) -> Self:
        """The vocabularies that `to_json` wrote, with their items."""
        return cls(
            items=Vocabulary(items),
            services=Vocabulary(document["services"]),
            actions=Vocabulary(document["actions"]),
            categories={name: Vocabulary(values) for name, values in document["categories"].items()},
        )


class Batcher:
    """Turns tables of users into arrays for one model."""

    def __init__(self, schema: InputSchema, vocabularies: Vocabularies, onboarding: bool) -> None:
        self.schema = schema
        self.vocabularies = vocabularies
        self.fields = (*schema.profile, *schema.team)
        self.onboarding = onboarding
        self.items: Codes = vocabularies.items
        # A pick names no service: the most used item of that id is meant.
        self._picks = Codes({}, 0).grown([item_id(key) for key in vocabularies.items.values])

    def knowing(self, keys: Sequence[str]) -> "Batcher":
        """A batcher that knows these further items too; they get the next codes, and this one does not change."""
        other = copy(self)
        other.items = self.items.grown(keys)
        other._picks = self._picks.grown([item_id(key) for key in keys])
        return other

    def arrays(self, users: pa.Table, as_of: int | Int64) -> UserArrays:
        """The users as of a time (microseconds since 1970; one for all, or one each).

        Events at or after it do not count, nor does the profile of a user created at or after it.
        Raises InvalidInput when the table lacks a column that the model was trained with.
        """
        self._require_columns(users)
        as_of_each = one_each(as_of, users.num_rows)
        created = times(_column(users, "created_time"))
        hidden = created >= as_of_each
        profile = {f.name for f in self.schema.profile}
        mask = {f: hidden if f.name in profile else np.zeros_like(hidden) for f in self.fields}
        return UserArrays(
            as_of=as_of_each,
            events=self._events(users, as_of_each),
            onboarding=self._onboarding(users, hidden),
            created=np.where(hidden, NO_TIME, created),
            categories={
                f.name: np.where(mask[f], -1, self.vocabularies.categories[f.name].encode(_read(users, f, as_text)))
                for f in self.fields
                if f.kind == FieldKind.CATEGORY
            },
            numbers={
                f.name: np.where(mask[f], np.nan, _read(users, f, _numbers))
                for f in self.fields
                if f.kind == FieldKind.NUMBER
            },
            vectors={
                f.name: np.where(
                    mask[f][:, None], np.float32(np.nan), _read(users, f, partial(vectors_of, length=f.length))
                )
                for f in self.fields
                if f.kind == FieldKind.VECTOR
            },
        )

    def _require_columns(self, users: pa.Table) -> None:
        wanted = {*HISTORY_COLUMNS, "created_time", *self.schema.names}
        if self.onboarding:
            wanted.add("onboarding_items")
        missing = sorted(wanted - set(users.column_names))
        if missing:
            raise InvalidInput(
                f"the users lack the columns {missing} that this version was trained with: ingest or declare them "
                f"again, or train a version with --exclude"
            )

    def _events(self, users: pa.Table, as_of: Int64) -> Events:
        services = _column(users, "services")
        user = _rows(services)
        time = _numpy(_column(users, "event_times").flatten(), np.int64)
        keep = time < as_of[user]
        keys = item_keys(services.flatten(), _column(users, "item_ids").flatten()).dictionary_encode()
        events = Events(
            user=user,
            item=self.items.lookup(keys),
            service=self.vocabularies.services.encode(services.flatten()),
            action=self.vocabularies.actions.encode(_column(users, "actions").flatten()),
            distinct=place_codes(keys),
            time=time,
            weight=_numpy(_column(users, "weights").flatten(), np.float64),
        )
        order = _time_order(user, time)
        if order is None and keep.all():
            return events
        return _take_events(events, np.flatnonzero(keep) if order is None else order[keep[order]])

    def _onboarding(self, users: pa.Table, hidden: Bool) -> Picks:
        if not self.onboarding:
            return Picks(np.empty(0, np.int64), np.empty(0, np.int64))
        picks = _column(users, "onboarding_items")
        user = _rows(picks)
        item = self._picks.encode(picks.flatten())
        keep = (item >= 0) & ~hidden[user]
        return Picks(user[keep], item[keep])


def _read(users: pa.Table, field: Field, reader: Callable[[pa.Array], Read]) -> Read:
    """The values of a field; raises InvalidInput that names the first user with a value of another kind."""
    column = _column(users, field.name)
    try:
        return reader(column)
    except (pa.ArrowException, TypeError, ValueError) as error:
        given = (place for place in range(len(column)) if column[place].is_valid)
        place = next((place for place in given if _is_unfit(column.slice(place, 1), reader)), 0)
        user, value = users.column("user_id")[place].as_py(), str(column[place].as_py())
        raise InvalidInput(
            f"the column {field.name!r} holds {column.type}, {value[:80]!r} of user {user!r} for instance, and this "
            f"version was trained on it as a {field.kind}: bring the values in that form, or train a version anew"
        ) from error


def _is_unfit(value: pa.Array, reader: Callable[[pa.Array], object]) -> bool:
    try:
        reader(value)
    except (pa.ArrowException, TypeError, ValueError):
        return True
    return False


def as_text(column: pa.Array) -> pa.Array:
    """A category column as text; booleans become "true" and "false"."""
    return column if pa.types.is_string(column.type) else pc.cast(column, pa.string())


def _take_events(events: Events, places: Int64) -> Events:
    return Events(**{name: getattr(events, name)[places] for name in events.__dataclass_fields__})


def _time_order(user: Int64, time: Int64) -> Int64 | None:
    """The order by user and time; None when it is that already, as the history fold leaves it."""
    backwards = (time[1:] < time[:-1]) & (user[1:] == user[:-1])
    return np.lexsort((time, user)) if backwards.any() else None


def one_each(as_of: int | Int64, users: int) -> Int64:
    """An as-of time for each user; raises InvalidInput when there are neither one nor as many as users."""
    each = np.full(users, as_of, dtype=np.int64) if np.ndim(as_of) == 0 else np.asarray(as_of, dtype=np.int64)
    if each.shape != (users,):
        raise InvalidInput(f"as_of has shape {each.shape} for {users} users: give one time, or one for each user")
    return each


def _column(users: pa.Table, name: str) -> pa.Array:
    chunked = users.column(name)
    return chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()


def _rows(lists: pa.Array) -> Int64:
    """Row of each element of a list column."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return np.repeat(np.arange(len(lists), dtype=np.int64), np.asarray(lengths))


def _numpy(values: pa.Array, dtype: type[Number]) -> npt.NDArray[Number]:
    numbers: npt.NDArray[Number] = values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    return numbers


def _numbers(column: pa.Array) -> Float64:
    """Numbers as they are, times in days since 1970; NaN for nulls and for what is not finite."""
    if pa.types.is_temporal(column.type):
        micros = times(column)
        return np.where(micros == NO_TIME, np.nan, micros / DAY_US)
    # Whole numbers beyond 2**53 become the nearest double; text has to be numbers.
    values = pc.cast(column, pa.float64(), safe=not pa.types.is_integer(column.type)).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(values), values, np.nan)


def vectors_of(column: pa.Array, length: int) -> Float32:
    """[n, length] of a column of lists; rows of NaN where the list is null, of another length, or not finite."""
    vectors = np.full((len(column), length), np.nan, dtype=np.float32)
    if pa.types.is_null(column.type):
        return vectors
    lengths = np.asarray(pc.fill_null(pc.list_value_length(column), 0))
    whole = lengths == length
    with np.errstate(over="ignore"):  # beyond float32: not finite, and so missing
        flat = _numpy(column.filter(pa.array(whole)).flatten(), np.float32)
    vectors[whole] = flat.reshape(-1, length)
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    return vectors
