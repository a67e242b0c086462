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
from portrait.feature_repo.schemas import HISTORY, embeddings
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
    hidden = file.with_suffix(".writing")
    pq.write_table(schema.empty_table(), hidden)
    hidden.replace(file)
