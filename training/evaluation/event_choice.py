"""Choice of events: users with only some of their events, or without their onboarding picks."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.feature_repo.schemas import HISTORY
from portrait.training.encoding.arrays import Bool, Int64

LISTS = [field.name for field in HISTORY if pa.types.is_list(field.type)]


def owners(users: pa.Table) -> Int64:
    """int64 [events] the row of the user of each event, in the order of the flattened list columns."""
    lengths = np.asarray(pc.list_value_length(users["item_ids"].combine_chunks()))
    return np.repeat(np.arange(users.num_rows, dtype=np.int64), lengths)


def with_events(users: pa.Table, kept: Bool) -> pa.Table:
    """The users with those of their events that are marked in `kept` [events]; all other columns stay."""
    counts = np.bincount(owners(users)[kept], minlength=users.num_rows)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    mask = pa.array(kept)
    for name in LISTS:
        values = users[name].combine_chunks().flatten().filter(mask)
        column = pa.ListArray.from_arrays(offsets, values)
        users = users.set_column(users.schema.get_field_index(name), name, column)
    return users


def without_picks(users: pa.Table) -> pa.Table:
    """The users as if they had picked nothing when they signed up."""
    place = users.schema.get_field_index("onboarding_items")
    nothing = pa.nulls(users.num_rows, users.schema.field(place).type)
    return users.set_column(place, "onboarding_items", nothing)
