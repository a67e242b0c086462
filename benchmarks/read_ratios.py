"""Ratios of reads: the gateway beside `feast serve`, an empty handler, and the store itself."""

from collections.abc import Iterator, Sequence

from benchmarks.rounds import Measurement, Ratio, cpu_ratio, p99_ratio, ratio

SINGLE, FEAST_SINGLE = "gateway, 1 user", "feast serve, 1 user"
EMPTY = "empty handler of the same app"
JSON_BATCH, ARROW_BATCH = "gateway, 100 users, JSON", "gateway, 100 users, Arrow"
FEAST_BATCH = "feast serve, 100 users"
RAW_SINGLE, RAW_BATCH = "raw Redis, 1 user", "raw Redis, 100 users"

SINGLE_AIM = 2.5  # times the requests/s of `feast serve`
P99_AIM = 2.0  # times its 99th percentile is ours
EMPTY_AIM = 0.7  # of an empty handler
BATCH_AIM = 5.0  # times the requests/s of `feast serve`


def read_ratios(measured: Sequence[Measurement]) -> Iterator[Ratio]:
    """The ratios at each number of connections, then those to direct reads in one process."""
    by_name = {(one.what, one.clients): one for one in measured}
    for clients in sorted({one.clients for one in measured}):
        here = {what: one for (what, number), one in by_name.items() if number == clients}
        yield from _at(here, "1 connection" if clients == 1 else f"{clients} connections")
    for ours, size in ((SINGLE, "1 user"), (JSON_BATCH, "100 users")):
        for name in ("FeatureRepo.read_vectors", "the bare store"):
            alone = by_name[f"direct: {name}, {size}", 1]
            yield ratio(f"gateway / direct {name}, {size}, 1 connection", by_name[ours, 1], alone)


def _at(here: dict[str, Measurement], at: str) -> Iterator[Ratio]:
    single, feast, empty = here[SINGLE], here[FEAST_SINGLE], here[EMPTY]
    yield ratio(f"single read / feast serve, {at}", single, feast, SINGLE_AIM)
    yield p99_ratio(f"p99 of feast serve / of a single read, {at}", feast, single, P99_AIM)
    yield cpu_ratio(f"processor time of feast serve / of a single read, {at}", feast, single)
    yield ratio(f"single read / empty handler, {at}", single, empty, EMPTY_AIM)
    yield ratio(f"batch-100 Arrow / feast serve, {at}", here[ARROW_BATCH], here[FEAST_BATCH], BATCH_AIM)
    yield ratio(f"batch-100 JSON / feast serve, {at}", here[JSON_BATCH], here[FEAST_BATCH])
    yield cpu_ratio(f"processor time of feast serve / of a batch-100 Arrow, {at}", here[FEAST_BATCH], here[ARROW_BATCH])
    if RAW_SINGLE in here:
        yield ratio(f"single read / raw Redis, {at}", single, here[RAW_SINGLE])
        yield ratio(f"batch-100 Arrow / raw Redis, {at}", here[ARROW_BATCH], here[RAW_BATCH])
