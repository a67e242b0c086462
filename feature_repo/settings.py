"""Settings of the feature floor."""

import os
from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator

from portrait.registry.settings import RegistrySettings, require_sql_url, require_url


class FeatureSettings(RegistrySettings):
    """Where Feast keeps its registry and its online values, and how raw features are cut."""

    feast_registry_url: str = Field(default="", description="SQLAlchemy URL of Feast's registry.")
    online_store_url: str = Field(
        default="", description="redis://host:port/db for Redis; empty for SQLite in the home."
    )
    feature_repo: Path = Field(default=Path(__file__).resolve().parent, description="Folder that `feast apply` reads.")
    broker_url: str = Field(
        default="", description="redis://host:port/db for events through Redis Streams; empty: straight into the inbox."
    )
    _urls = field_validator("online_store_url", "broker_url")(require_url)
    _sql_url = field_validator("feast_registry_url")(require_sql_url)

    history_length: PositiveInt = Field(default=256, description="Events a user keeps in each service.")
    max_clock_ahead: NonNegativeFloat = Field(
        default=5.0,
        le=86_400,
        description="Seconds by which the time of an event may lie after its receipt, or after the start of an ingest.",
    )
    clamp_clocks: bool = Field(
        default=False,
        description="Take the time of receipt for events that lie further ahead, and count them, instead of rejecting "
        "them.",
    )
    ingest_memory: str = Field(
        default="1GB", description="Memory limit of DuckDB while ingesting and cutting snapshots."
    )
    ray_from_events: PositiveInt = Field(
        default=5_000_000, description="Snapshots of a log with at least so many events are cut through Ray."
    )
    ray_address: str = Field(
        default="",
        description="Ray cluster to join; empty starts one of this process's own, unless RAY_ADDRESS is set.",
    )

    @property
    def ray_cpus(self) -> int:
        """CPUs that a local cluster claims to have; at least four, or its own actors could not be placed."""
        return max(4, os.cpu_count() or 1)
