"""Feast views and services of raw features, embeddings and consumers, as pure functions of settings and records."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
from feast import FeatureService, FeatureView, Field, FileSource, PushSource
from feast.data_format import ParquetFormat
from feast.types import Array, Float32, Int64, String

from portrait.feature_repo.declaration.feature_types import feast_type
from portrait.feature_repo.entities import item, service, user
from portrait.feature_repo.schemas import HISTORY, TIME
from portrait.registry.records.records import Consumer, EmbeddingVersion

HISTORY_VIEW, PROFILE_VIEW, CATALOGUE_VIEW = "user_history", "user_profile", "item_catalogue"
INPUTS_SERVICE = "representation_inputs"
EMBEDDING_VIEWS = "user_embedding__"
EMBEDDING = "user_embedding"
"""Name under which a consumer's service shows its version's view: the column is always `user_embedding__vector`."""

CATALOGUE_FIXED = pa.schema(
    [
        ("service", pa.string()),
        ("item_id", pa.string()),
        ("text", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("as_of", TIME),
        ("computed_at", TIME),
    ]
)
"""Columns that every catalogue has; ready vectors `vector_<modality>` follow them."""

TIMES = ("as_of", "computed_at")  # of a row, no features


def view_name(version_id: str) -> str:
    """The view of an embedding version: `user_embedding__autoencoder_3` for autoencoder-3."""
    return EMBEDDING_VIEWS + version_id.replace("-", "_")


def history_files(home: Path) -> Path:
    """Folder of the histories of all snapshots."""
    return home / "snapshots" / "history"


def profile_files(home: Path) -> Path:
    """Folder of the profiles of all snapshots."""
    return home / "snapshots" / "profile"


def catalogue_files(home: Path) -> Path:
    """Folder of the current catalogue."""
    return home / "snapshots" / "catalogue"


def embedding_files(home: Path, version_id: str) -> Path:
    """Folder of a version's stored vectors."""
    return home / "embeddings" / version_id


def user_history(home: Path) -> FeatureView:
    """A user's last events of each service, newest last; pushed, and in every snapshot."""
    source = _files(HISTORY_VIEW, history_files(home), "Histories of all users, one folder a snapshot.")
    return FeatureView(
        name=HISTORY_VIEW,
        entities=[user],
        schema=_fields(HISTORY),
        source=PushSource(name=f"{HISTORY_VIEW}_push", batch_source=source),
        description="The raw behavioural feature: last events per service, sorted by time, newest last.",
    )


def user_profile(home: Path, schema: pa.Schema) -> FeatureView:
    """Static user fields; its columns follow the ingested users tables."""
    source = _files(PROFILE_VIEW, profile_files(home), "Profiles of all users, one folder a snapshot.")
    return FeatureView(
        name=PROFILE_VIEW,
        entities=[user],
        schema=_fields(schema),
        source=PushSource(name=f"{PROFILE_VIEW}_push", batch_source=source),
        description="Sign-up time, onboarding picks and the further columns of the users tables.",
    )


def item_catalogue(home: Path, schema: pa.Schema) -> FeatureView:
    """Items as they are now, valid for any time; offline only, as models carry the item vectors that they need."""
    source = _files(CATALOGUE_VIEW, catalogue_files(home), "The catalogue of today, valid at any time.")
    return FeatureView(
        name=CATALOGUE_VIEW,
        entities=[service, item],
        schema=_fields(pa.unify_schemas([CATALOGUE_FIXED, schema])),
        source=source,
        online=False,
        description="Text, tags and ready vectors of items.",
    )


def embedding_view(home: Path, version: EmbeddingVersion) -> FeatureView:
    """The vectors of one version, and of no other."""
    source = _files(f"{view_name(version.id)}_files", embedding_files(home, version.id), f"Backfills of {version.id}.")
    return FeatureView(
        name=view_name(version.id),
        entities=[user],
        schema=[
            Field(name="user_id", dtype=String),
            Field(name="vector", dtype=Array(Float32), vector_index=True, vector_length=version.dimension),
            Field(name="position", dtype=Int64),
        ],
        source=source,
        tags={"version": version.id, "fingerprint": version.fingerprint, "family": version.family},
        description=f"The portrait of every user at version {version.id}.",
    )


def consumer_service(consumer: Consumer, version: EmbeddingVersion, view: FeatureView) -> FeatureService:
    """The service that a consumer reads by plain Feast: the stored vectors of its stable version."""
    return FeatureService(
        name=consumer.name,
        features=[view[["vector"]].with_name(EMBEDDING)],
        tags={"version": version.id, "fingerprint": version.fingerprint},
        description=consumer.task,
        owner=consumer.owner,
    )


def representation_inputs(views: Iterable[FeatureView]) -> FeatureService:
    """The service of all inputs of representation models."""
    return FeatureService(
        name=INPUTS_SERVICE,
        features=list(views),
        description="What representation models are fed: history, profile, and the views that teams have joined to it.",
    )


def _files(name: str, folder: Path, description: str) -> FileSource:
    return FileSource(
        name=name,
        path=str(folder),
        file_format=ParquetFormat(),
        timestamp_field="as_of",
        created_timestamp_column="computed_at",
        description=description,
    )


def _fields(schema: pa.Schema) -> list[Field]:
    return [Field(name=column.name, dtype=feast_type(column.type)) for column in schema if column.name not in TIMES]
