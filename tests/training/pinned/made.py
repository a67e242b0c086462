"""Short ways to make training sets in tests, and to say when rows were taken in."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import update

from portrait.feature_repo.log.tables import SegmentRow
from portrait.infra.portrait import Portrait
from portrait.training.pinned.make import Made, Request, make

T = datetime(2024, 9, 1, tzinfo=UTC)
"""A label time in the middle of the generated year."""


def labels_file(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def make_set(portrait: Portrait, labels: Path, out: Path, version: str = "autoencoder-1", **further: Any) -> Made:
    chosen = portrait.registry.versions.get(version)
    return make(portrait.repo, Request("ranker", chosen, labels, out, **further), portrait.settings)


def vectors_of(table: pa.Table) -> np.ndarray:
    flat: np.ndarray = table["vector"].combine_chunks().flatten().to_numpy()
    return flat.reshape(table.num_rows, -1)


def commit_all(portrait: Portrait, moment: datetime) -> None:
    """Let everything that the log holds have been taken in at a moment."""
    with portrait.database.transaction() as session:
        session.execute(update(SegmentRow).values(committed_at=moment))


def commit_new(portrait: Portrait, after: datetime, moment: datetime) -> None:
    """Let everything that was taken in after a moment have been taken in at another."""
    with portrait.database.transaction() as session:
        session.execute(update(SegmentRow).where(SegmentRow.committed_at > after).values(committed_at=moment))
