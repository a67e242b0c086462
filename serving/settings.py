"""Settings of the serving floor."""

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from portrait.training.settings import TrainingSettings


class ServingSettings(TrainingSettings):
    """Settings of the gateway and of the refresh. Port 0 of the API means any free port."""

    host: str = Field(default="127.0.0.1", description="Address to listen on; loopback unless told otherwise.")
    production: bool = Field(default=False, description="Refuse to start without API keys.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port of the HTTP API.")
    path_prefix: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="Path below which a proxy serves the API, such as /portrait; it may cut the path off or not.",
    )
    replicas: PositiveInt = Field(default=1, description="Gateway processes.")
    replica_cpus: PositiveFloat = Field(default=1.0, description="CPUs that Ray sets aside for a gateway process.")
    max_batch: PositiveInt = Field(default=1000, description="Users a request may name.")
    poll_seconds: PositiveFloat = Field(default=0.2, le=1.0, description="How often a replica looks for promotions.")
    reconcile_seconds: PositiveFloat = Field(
        default=5.0, description="How often a replica looks whether Feast or a retirement was left behind."
    )
    store_threads: PositiveInt = Field(default=4, description="Threads that read the SQLite online store, a replica.")
    store_inline_users: NonNegativeInt = Field(
        default=128,
        description="Reads of the SQLite online store for at most so many users take no thread: handing one over costs "
        "several times the read, and readers of a WAL do not wait for its writers.",
    )
    compute_threads: PositiveInt = Field(default=2, description="Threads that compute missing vectors, a replica.")
    compute_queue: PositiveInt = Field(
        default=64, description="Requests a replica keeps waiting for a computed vector before it answers 503."
    )
    accept_queue: PositiveInt = Field(
        default=20_000,
        description="Events, users and items a replica keeps waiting to be committed before it answers 503.",
    )
    max_ongoing_requests: PositiveInt = Field(default=1000, description="Requests a replica works on at once.")
    max_queued_requests: PositiveInt = Field(default=2000, description="Requests that wait for a replica before 503.")
    refresh_shards: NonNegativeInt = Field(
        default=1, description="Processes that let vectors follow the log; 0: only backfills do."
    )
    shard_cpus: PositiveFloat = Field(default=1.0, description="CPUs that Ray sets aside for a refresh shard.")
    lazy_seconds: PositiveFloat = Field(
        default=30.0, description="How often versions that nobody reads are refreshed, in batches."
    )
    seal_rows: PositiveInt = Field(default=5000, description="Rows of a bucket's inbox that are sealed to a file.")
    seal_seconds: PositiveFloat = Field(default=3600.0, description="Age at which they are, however few.")
    haproxy: bool = Field(
        default=True, description="Serve through HAProxy where its binary is there; off: Ray's own, slower proxy."
    )
    haproxy_stats_port: int = Field(
        default=0, ge=0, le=65535, description="Port of HAProxy's statistics page, on loopback; 0: there is none."
    )
    haproxy_metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Port of HAProxy's own metrics, on loopback; 0: there are none."
    )
    drain_seconds: float = Field(default=0.0, ge=0, description="How long a stopping replica keeps answering.")
