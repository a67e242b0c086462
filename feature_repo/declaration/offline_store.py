"""The offline store: Feast's DuckDB store, reading folders whose files do not all have the same columns.

The columns of profiles and catalogue follow what is ingested, so an older snapshot lacks newer columns. Feast's
store reads a folder by the columns of its first file and fails; here a column that a file lacks is null in it.
"""

from datetime import datetime
from typing import Literal

import ibis
import pandas as pd
from feast import FeatureView, RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _read_data_source,
    _write_data_source,
)
from feast.infra.offline_stores.ibis import (
    get_historical_features_ibis,
    pull_all_from_table_or_query_ibis,
    pull_latest_from_table_or_query_ibis,
)
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry

from portrait.feature_repo.declaration.local_sources import LocalFiles
from portrait.feature_repo.log.duck import plain_path


class PortraitDuckDBOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """Nothing to set beyond Feast's own. `type` may be the name that the store had before 0.2."""

    type: Literal[
        "portrait.feature_repo.declaration.offline_store.PortraitDuckDBOfflineStore",
        "feature_repo.offline.PortraitDuckDBOfflineStore",
    ] = "portrait.feature_repo.declaration.offline_store.PortraitDuckDBOfflineStore"


class PortraitDuckDBOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast ships no types
    """Point-in-time joins and materialization over Parquet files that are combined by column name."""

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each entity within a time range; `feast materialize` reads these."""
        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=read_source,
            data_source_writer=_write_data_source,
        )

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows within a time range."""
        return pull_all_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=read_source,
            data_source_writer=_write_data_source,
        )

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Features as they were at the times in `entity_df`."""
        return get_historical_features_ibis(
            config=config,
            feature_views=feature_views,
            feature_refs=feature_refs,
            entity_df=entity_df,
            registry=registry,
            project=project,
            full_feature_names=full_feature_names,
            filter_by_created_timestamp=filter_by_created_timestamp,
            data_source_reader=read_source,
            data_source_writer=_write_data_source,
        )


def read_source(source: DataSource, repo_path: str) -> ibis.Table:
    """All rows of a source; Parquet files on this machine are read as `LocalFiles` finds them."""
    local = LocalFiles.of(source, repo_path)
    if local is None:
        return _read_data_source(source, repo_path)
    if not local.files:
        raise FileNotFoundError(f"there is no Parquet file at {local.place}")
    by_folder = any(local.partition_keys(file) for file in local.files)
    return ibis.read_parquet(
        [plain_path(file) for file in local.files], union_by_name=True, hive_partitioning=by_folder
    )
