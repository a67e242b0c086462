"""The folders that Feast's views read, each with a file of no rows: DuckDB refuses a folder without any file."""

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
from portrait.feature_repo.log.manifest import Kind
from portrait.feature_repo.schemas import EPOCH, HISTORY, TIME, embeddings
from portrait.registry.database.tables import GONE_STATES
from portrait.registry.records.records import EmbeddingVersion


def prepare_source_files(home: Path, profile: pa.Schema, versions: Iterable[EmbeddingVersion]) -> None:
    """Make folder and empty file of every view's source where they are missing."""
    _prepare(history_files(home), HISTORY)
    _prepare(profile_files(home), profile)
    _prepare(catalogue_files(home), CATALOGUE_FIXED)
    for version in versions:
        if version.state not in GONE_STATES:  # their files are gone or going
            _prepare(embedding_files(home, version.id), embeddings(version.dimension))


def _prepare(folder: Path, schema: pa.Schema) -> None:
    # It also names all columns there are, those that no snapshot has yet included.
    file = folder / "no-rows.parquet"
    if file.exists() and pq.read_schema(file).equals(schema):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with replacement(file, durable=False) as scratch:
        pq.write_table(schema.empty_table(), scratch)


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
    with replacement(file, durable=False) as scratch:
        pq.write_table(items.replace_schema_metadata({SEGMENTS: segments}), scratch, compression="zstd")
    return True


def _file(home: Path) -> Path:
    return catalogue_files(home) / "items.parquet"
