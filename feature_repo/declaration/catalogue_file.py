"""The catalogue as one Parquet file for Feast: rewritten when items were ingested, replaced in one step."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.declaration.views import CATALOGUE_FIXED, catalogue_files
from portrait.feature_repo.history.catalogue import catalogue
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import Kind
from portrait.feature_repo.schemas import EPOCH, TIME

SEGMENTS = b"portrait_segments"


def catalogue_schema(home: Path) -> pa.Schema:
    """Columns of the written catalogue, with its ready vectors."""
    file = _file(home)
    return pq.read_schema(file).remove_metadata() if file.exists() else CATALOGUE_FIXED


def write_catalogue(log: EventLog) -> bool:
    """Bring the file up to the log; True if that changed anything."""
    segments = ",".join(segment.id for segment in log.manifest().of(Kind.ITEMS)).encode()
    file = _file(log.home)
    if file.exists() and (pq.read_schema(file).metadata or {}).get(SEGMENTS) == segments:
        return False
    items = catalogue(log)
    for column in ("as_of", "computed_at"):  # an item is what it is at any time: joins at every time find it
        items = items.append_column(pa.field(column, TIME), pa.repeat(pa.scalar(EPOCH, TIME), len(items)))
    file.parent.mkdir(parents=True, exist_ok=True)
    hidden = file.with_suffix(".writing")  # no reader looks for this ending
    pq.write_table(items.replace_schema_metadata({SEGMENTS: segments}), hidden, compression="zstd")
    hidden.replace(file)
    return True


def _file(home: Path) -> Path:
    return catalogue_files(home) / "items.parquet"
