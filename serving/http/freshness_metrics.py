"""Freshness as Prometheus reads it. Every gateway answers for all shards, wherever they run."""

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from portrait.serving.operations.freshness import Freshness


class FreshnessCollector(Collector):
    """What was read last; nothing until then, and nothing while the registry is away."""

    def __init__(self) -> None:
        self.freshness: Freshness | None = None

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
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
