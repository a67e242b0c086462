"""A team's own numbers of users as a Feast view over its Parquet file, and the service its model reads by."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from feast import FeatureService, FeatureView, Field, FileSource
from feast.data_format import ParquetFormat
from feast.types import Float32, String

from portrait.feature_repo.entities import user
from portrait.feature_repo.schemas import TIME, microseconds


def write_numbers(
    path: Path, user_ids: pa.Array, names: Sequence[str], numbers: np.ndarray, as_of: datetime, computed_at: datetime
) -> None:
    """Features float32 [n, names] of users as a batch source, visible whole or not."""
    columns: dict[str, pa.Array] = {"user_id": user_ids}
    columns |= {name: pa.array(np.ascontiguousarray(numbers[:, place])) for place, name in enumerate(names)}
    for name, moment in (("as_of", as_of), ("computed_at", computed_at)):
        columns[name] = pa.array(np.full(len(user_ids), microseconds(moment))).cast(TIME)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".writing")
    pq.write_table(pa.table(columns), scratch, compression="zstd")
    scratch.replace(path)


def numbers_view(name: str, path: Path, names: Sequence[str], description: str) -> FeatureView:
    """The view over such a file."""
    source = FileSource(
        name=f"{name}_file",
        path=str(path),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="computed_at",
    )
    fields = [Field(name="user_id", dtype=String), *(Field(name=feature, dtype=Float32) for feature in names)]
    return FeatureView(name=name, entities=[user], schema=fields, source=source, description=description)


def numbers_service(view: FeatureView) -> FeatureService:
    """What the team's model reads: the whole view."""
    return FeatureService(name=f"{view.name}_model", features=[view], description=view.description)
