"""Metrics of the gateway: requests by endpoint and status, their latency, sources of vectors, and freshness."""

import os
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrait.registry.private_folder import make_private
from portrait.serving.operations.freshness import Freshness
from portrait.serving.reads.embedding_batch import Answer, Source
from portrait.serving.state.assignment_poller import Assignments


class FreshnessCollector(Collector):
    """Metrics of the freshness that was read last; none before the first read and while the registry is away."""

    def __init__(self) -> None:
        self.freshness: Freshness | None = None

    def collect(self) -> Iterator[Metric]:
        """The metrics of the last freshness, none without one."""
        if self.freshness is not None:
            yield from (make(self.freshness) for make in _FAMILIES)


def _delays(freshness: Freshness) -> Metric:
    family = HistogramMetricFamily(
        "portrait_event_to_readable_seconds",
        "From the acceptance of an event to a readable vector that knows it.",
        labels=["version"],
    )
    for version, delays in freshness.delays.items():
        bounds = [*map(str, delays.bounds), "+Inf"]
        counts = list(accumulate(delays.counts))
        family.add_metric([version], list(zip(bounds, counts, strict=True)), delays.sum)
    return family


def _backlog(freshness: Freshness) -> Metric:
    family = GaugeMetricFamily(
        "portrait_refresh_backlog", "Rows of a bucket that are accepted and not yet readable.", labels=["bucket"]
    )
    for bucket, rows in freshness.backlog.items():
        family.add_metric([str(bucket)], rows)
    return family


def _gauge(name: str, help: str, value: Callable[[Freshness], float]) -> Callable[[Freshness], Metric]:
    return lambda freshness: GaugeMetricFamily(name, help, value=value(freshness))


_FAMILIES: tuple[Callable[[Freshness], Metric], ...] = (
    _delays,
    _backlog,
    _gauge("portrait_refresh_backlog_rows", "Rows that are accepted and not yet readable.", lambda f: f.waiting),
    _gauge("portrait_refresh_oldest_seconds", "Age of the oldest of them.", lambda freshness: freshness.oldest_seconds),
    _gauge("portrait_refresh_shards", "Refresh shards that were heard of lately.", lambda f: len(f.shards)),
    _gauge("portrait_refresh_buckets_held", "Buckets that a shard works on.", lambda freshness: freshness.held),
    _gauge("portrait_broker_entries", "Entries that the broker holds and the inbox does not.", lambda f: f.in_broker),
    _gauge(
        "portrait_versions_failing", "Live versions that cannot be refreshed.", lambda freshness: len(freshness.failing)
    ),
)


LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class GatewayMetrics:
    """The gateway's metrics.

    With `shared`, every replica of a machine answers for all of them, through the folder that PROMETHEUS_MULTIPROC_DIR
    has named since the process started. (Whether the variable is set does not tell: importing Feast sets it too.)
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        if shared:
            make_private(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "portrait_request_seconds",
            "Time from request to answer.",
            ["endpoint", "status"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._embeddings = Counter(
            "portrait_embeddings",
            "Vectors answered; the share of each source is what a consumer's model is fed.",
            ["consumer", "version", "source"],
            registry=self.registry,
        )
        self._too_old = Counter(
            "portrait_embeddings_stale",
            "Vectors answered though older than their consumer's max_age, because they could not be computed anew.",
            ["consumer", "version"],
            registry=self.registry,
        )
        self._records = Counter(
            "portrait_records",
            "Events, users and items that came over HTTP, by what became of them.",
            ["kind", "outcome"],
            registry=self.registry,
        )
        # Metrics by their labels, looked up for every request: prometheus_client takes ten times as long for it.
        self.freshness = FreshnessCollector()
        self.registry.register(self.freshness)
        self._sources: Tally[str] = Tally()
        self._seconds_of: dict[tuple[str, int], Histogram] = {}
        self._embeddings_of: dict[tuple[str, str, str], Counter] = {}
        self._generation = Gauge(
            "portrait_generation",
            "Generation of the assignments being served.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._stale = Gauge(
            "portrait_assignments_stale_seconds",
            "Seconds since the registry last confirmed the assignments.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._registry_up = Gauge(
            "portrait_registry_up",
            "1 while the registry answers, 0 while the last known assignments are served without it.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )
        self._store_sound = Gauge(
            "portrait_online_store_sound",
            "1 while the online store has all that was put into it, 0 while reads are flagged as stale.",
            registry=self.registry,
            multiprocess_mode="mostrecent",
        )

    def answered(self, consumer: str, answer: Answer) -> None:
        """Count the vectors of an answer by version and source."""
        for batch in answer.parts:
            for source in set(batch.source):
                self.answered_with(consumer, batch.version, source, batch.source.count(source))
            if batch.stale.any():
                self._too_old.labels(consumer, batch.version).inc(int(batch.stale.sum()))

    def answered_with(self, consumer: str, version: str, source: Source, vectors: int) -> None:
        """Count vectors of one version and source."""
        labels = (consumer, version, source)
        counter = self._embeddings_of.get(labels)
        if counter is None:
            counter = self._embeddings_of[labels] = self._embeddings.labels(*labels)
        counter.inc(vectors)
        self._sources[source] += vectors

    def facts(self) -> dict[str, Any]:
        """The counters that the registry keeps of this gateway, for `portrait status`."""
        return {"sources": dict(self._sources)}

    def took(self, kind: str, outcomes: Mapping[str, int]) -> None:
        """Count the records of a request by outcome."""
        for outcome, count in outcomes.items():
            self._records.labels(kind, outcome).inc(count)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one request with its status and time."""
        histogram = self._seconds_of.get((endpoint, status))
        if histogram is None:
            histogram = self._seconds_of[endpoint, status] = self._seconds.labels(endpoint, str(status))
        histogram.observe(seconds)

    def render(self, assignments: Assignments, store_sound: bool) -> bytes:
        """The metrics as Prometheus reads them."""
        known = assignments.known
        self._store_sound.set(store_sound)
        self._generation.set(known.generation if known else -1)
        self._stale.set(assignments.stale_seconds)
        self._registry_up.set(assignments.registry_answers)
        registry = self.registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(self.freshness)
        return generate_latest(registry)


class RequestTimer:
    """ASGI middleware that times every request; plain, as it is on the hot path."""

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and record its status and time."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The handler's name, never the path: labels by user would be unbounded.
            endpoint = getattr(scope.get("endpoint"), "__name__", "unknown")
            self._metrics.request(endpoint, status, time.perf_counter() - started)
