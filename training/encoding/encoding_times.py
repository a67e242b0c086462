"""Encoding times of users, and time columns as microseconds. Imports only numpy and pyarrow."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from portrait.training.encoding.arrays import NO_TIME, Int64


def encoding_times(inputs: pa.Table, floor: int) -> Int64:
    """As-of times int64 [n] in microseconds: the floor, or just after what is newest about the user if that is later.

    `inputs` has the columns `event_times`, newest last, and `created_time`; `floor` is the version's last backfill.
    Never the wall clock, so that batch, refresh and compute-on-read agree; and somebody who has just signed up is seen.
    """
    events = inputs.column("event_times").combine_chunks()
    offsets = events.offsets.to_numpy()
    starts, ends = offsets[:-1], offsets[1:]
    moments = np.full(len(events), floor, np.int64)
    active = ends > starts
    newest = events.values.to_numpy(zero_copy_only=False)[ends[active] - 1]
    moments[active] = np.maximum(moments[active], newest + 1)
    return np.maximum(moments, times(inputs.column("created_time").combine_chunks()) + 1)


def times(column: pa.Array) -> Int64:
    """A time column as microseconds since 1970; NO_TIME for nulls.

    By the whole second, as Feast keeps times in the online store: so a profile from a snapshot is the same as from
    there, to the last bit.
    """
    if pa.types.is_null(column.type):
        return np.full(len(column), NO_TIME)
    seconds = pc.cast(pc.floor_temporal(pc.cast(column, pa.timestamp("us", tz="UTC")), unit="second"), pa.int64())
    return np.asarray(pc.fill_null(seconds, NO_TIME), dtype=np.int64)
