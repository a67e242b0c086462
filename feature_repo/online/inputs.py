"""Inputs of models in the online store: history, profile and team features, written and read as Arrow tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from feast import FeatureView, RepoConfig
from feast.protos.feast.types.Value_pb2 import Value

from portrait.feature_repo.declaration.feature_types import arrow_type
from portrait.feature_repo.declaration.team_views import team_features
from portrait.feature_repo.declaration.views import HISTORY_VIEW, PROFILE_VIEW
from portrait.feature_repo.online.codec import Integers, Order, user_keys
from portrait.feature_repo.online.online_store import OnlineStore
from portrait.feature_repo.online.rows import POSITION, Row
from portrait.feature_repo.online.values import decode_column, encode_column
from portrait.feature_repo.schemas import HISTORY, TIME


@dataclass(frozen=True)
class InputColumns:
    """Columns of the inputs beside the history: the profile's, and by view those of teams, named view__feature."""

    profile: pa.Schema
    team: dict[str, pa.Schema]

    @classmethod
    def from_views(cls, profile: FeatureView, team: Sequence[FeatureView]) -> "InputColumns":
        further = [(f.name, arrow_type(f.dtype)) for f in profile.features if f.name != POSITION]
        columns = {view.name: [(f.column, arrow_type(f.type)) for f in team_features(view)] for view in team}
        return cls(pa.schema(further), {name: pa.schema(fields) for name, fields in columns.items()})


def rows_of_table(table: pa.Table) -> Iterator[Row]:
    """Rows of a view from a table with `user_id`, its features and its order (position, as_of, computed_at)."""
    features = [name for name in table.column_names if name not in ("user_id", "as_of", "computed_at")]
    times = [table.column(name).cast(TIME).cast(pa.int64()).to_pylist() for name in ("as_of", "computed_at")]
    orders = map(Order, table.column(POSITION).to_pylist(), *times)
    encoded = zip(*(encode_column(table.column(name)) for name in features), strict=True)
    values = (dict(zip(features, row, strict=True)) for row in encoded)
    yield from map(Row, user_keys(table.column("user_id").to_pylist()), values, orders)


def read_inputs(store: OnlineStore, config: RepoConfig, columns: InputColumns, user_ids: Sequence[str]) -> pa.Table:
    """The columns of `Snapshot.read` and those of teams, a row for each user in this order.

    A user without a row has empty lists, position 0 and nulls.
    """
    keys = user_keys(user_ids)
    table = {"user_id": pa.array(user_ids, pa.string())} | _history(store, config, keys)
    table |= _columns(store.read_rows(config, PROFILE_VIEW, keys, columns.profile.names), columns.profile)
    for view, schema in columns.team.items():
        features = [name.removeprefix(f"{view}__") for name in schema.names]
        table |= _columns(store.read_rows(config, view, keys, features), schema, features)
    return pa.table(table)


def read_history_ends(store: OnlineStore, config: RepoConfig, user_ids: Sequence[str]) -> tuple[Integers, Integers]:
    """Position of each user's history, and the time of its newest event in microseconds, int64 [n]; 0 for none."""
    rows = store.read_rows(config, HISTORY_VIEW, user_keys(user_ids), ["event_times"])
    position = np.array([row.order.position if row else 0 for row in rows], dtype=np.int64)
    times = (Value.FromString(row.values.get("event_times", b"")) if row else Value() for row in rows)
    newest = [time.int64_list_val.val[-1] if time.int64_list_val.val else 0 for time in times]
    return position, np.array(newest, dtype=np.int64)


def _history(store: OnlineStore, config: RepoConfig, keys: Sequence[bytes]) -> dict[str, pa.Array]:
    lists = pa.schema([field for field in HISTORY if pa.types.is_list(field.type)])
    rows = store.read_rows(config, HISTORY_VIEW, keys, lists.names)
    table = {name: _without_nulls(column) for name, column in _columns(rows, lists).items()}
    table["position"] = pa.array([row.order.position if row else 0 for row in rows], pa.int64())
    table["as_of"] = pa.array([row.order.as_of if row else None for row in rows], TIME)
    table["computed_at"] = pa.array([row.order.computed_at if row else None for row in rows], TIME)
    return table


def _without_nulls(column: pa.Array) -> pa.Array:
    if not column.null_count:
        return column
    return pa.array([items or [] for items in column.to_pylist()], column.type)


def _columns(
    rows: Sequence[Row | None], schema: pa.Schema, features: Sequence[str] | None = None
) -> dict[str, pa.Array]:
    stored = {
        field.name: [row.values.get(feature, b"") if row else b"" for row in rows]
        for field, feature in zip(schema, features or schema.names, strict=True)
    }
    return {name: decode_column(values, schema.field(name).type) for name, values in stored.items()}
