"""What /metrics shows: requests by endpoint and status, their latency, and where vectors came from."""

import os
import time
from collections import Counter as Tally
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from portrait.serving.http.freshness_metrics import FreshnessCollector
from portrait.serving.reads.embedding_batch import Answer, Source
from portrait.serving.state.assignment_poller import Assignments

LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The gateway's metrics.

    With `shared`, every replica of a machine answers for all of them, through the folder that
    PROMETHEUS_MULTIPROC_DIR has named since the process started. (That the variable is there is no sign:
    importing Feast sets it too.)
    """

    def __init__(self, shared: bool = False) -> None:
        self._shared = shared
        if shared:
            Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).mkdir(parents=True, exist_ok=True)
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
        # Found by their labels for every request: prometheus_client takes ten times as long to find them.
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
        """What the registry is told, so that `portrait status` knows it of every gateway."""
        return {"sources": dict(self._sources)}

    def took(self, kind: str, outcomes: Mapping[str, int]) -> None:
        """Count the records of a request by outcome."""
        for outcome, count in outcomes.items():
            self._records.labels(kind, outcome).inc(count)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Record one request."""
        histogram = self._seconds_of.get((endpoint, status))
        if histogram is None:
            histogram = self._seconds_of[endpoint, status] = self._seconds.labels(endpoint, str(status))
        histogram.observe(seconds)

    def render(self, assignments: Assignments) -> bytes:
        """The metrics as Prometheus reads them."""
        known = assignments.known
        self._generation.set(known.generation if known else -1)
        self._stale.set(assignments.stale_seconds)
        self._registry_up.set(assignments.registry_answers)
        registry = self.registry
        if self._shared:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            registry.register(self.freshness)
        return generate_latest(registry)


class Measured:
    """ASGI middleware that times every request; plain, as it is on the hot path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
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
            # The handler's name, never the path: a label a user would be unbounded.
            endpoint = getattr(scope.get("endpoint"), "__name__", "unknown")
            self._metrics.request(endpoint, status, time.perf_counter() - started)
