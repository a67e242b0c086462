"""Source files of Feast's views: an empty file in each folder, and the file of the current catalogue.

DuckDB refuses a folder without any file, so each folder gets a file of no rows.
"""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from portrait.feature_repo.declaration.views import (
    CATALOGUE_FIXED,
    catalogue_files,
    embedding_files,
    history_files,
    profile_files,
)
from portrait.feature_repo.history.catalogue import catalogue
from portrait.feature_repo.log.durable_files import replacement
from portrait.feature_repo.log.event_log import EventLog
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.schemas import EPOCH, HISTORY, TIME, embeddings
from portrait.registry.database.tables import GONE_STATES
from portrait.registry.records.records import EmbeddingVersion


def prepare_source_files(home: Path, profile: pa.Schema, versions: Iterable[EmbeddingVersion]) -> None:
    """Make the folder and the empty file of every view's source where they are missing."""
    _prepare(history_files(home), HISTORY)
    _prepare(profile_files(home), profile)
    _prepare(catalogue_files(home), CATALOGUE_FIXED)
    for version in versions:
        if version.state not in GONE_STATES:  # their files are gone or going
            _prepare(embedding_files(home, version.id), embeddings(version.dimension))


def _prepare(folder: Path, schema: pa.Schema) -> None:
    # The file names all columns, also those that no snapshot holds yet.
    file = folder / "no-rows.parquet"
    if file.exists() and pq.read_schema(file).equals(schema):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacement(file, durable=False) as scratch:
        pq.write_table(schema.empty_table(), scratch)


SEGMENTS = b"portrait_segments"


def catalogue_schema(home: Path) -> pa.Schema:
    """Columns of the written catalogue, ready vectors included."""
    file = _file(home)
    return pq.read_schema(file).remove_metadata() if file.exists() else CATALOGUE_FIXED


def write_catalogue(log: EventLog) -> bool:
    """Bring the catalogue file up to the log; returns whether it changed."""
    segments = ",".join(segment.id for segment in log.manifest().segments_of(SegmentKind.ITEMS)).encode()
    file = _file(log.home)
    if file.exists() and (pq.read_schema(file).metadata or {}).get(SEGMENTS) == segments:
        return False
    items = catalogue(log)
    for column in ("as_of", "computed_at"):  # an item is what it is at any time: joins at every time find it
        items = items.append_column(pa.field(column, TIME), pa.repeat(pa.scalar(EPOCH, TIME), len(items)))
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacement(file, durable=False) as scratch:
        pq.write_table(items.replace_schema_metadata({SEGMENTS: segments}), scratch, compression="zstd")
    return True


def _file(home: Path) -> Path:
    return catalogue_files(home) / "items.parquet"
