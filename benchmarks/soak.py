"""Soak: reads and events together for a long time; errors, memory, and latencies minute by minute."""

import time
from collections.abc import Iterator

from benchmarks import open_loop, servers, stream
from benchmarks.instance import Instance
from benchmarks.open_loop import EVENT, EVENTS, READ, READS, Flow, Requests
from benchmarks.processes import memory
from benchmarks.rounds import Grid, Measurement, Ratio, Section
from benchmarks.watching import Series, sampled

RATE, READ_RATE, BATCH_READ_RATE = 100.0, 150.0, 10.0  # events, reads and batches of reads a second
WARM_UP = 60.0  # seconds after which memory is first looked at, or a fifth of a shorter run
GROWTH_AIM = 0.05
WINDOW = 0.1  # of the run, over which memory is averaged
SERVERS = ("gateway", "shard")


def measure(instance: Instance, seconds: float, batch: int, singles: float) -> Section:
    """Both consumers are read, one user at a time and a hundred at once as JSON and Arrow, while events come."""
    stream.with_two_versions(instance)  # before anything is served
    rates = {"rate": RATE, "reads": READ_RATE, "batch_reads": BATCH_READ_RATE, "looked_for": 5.0}
    with servers.serving(instance.settings) as server:
        while not all(map(memory, SERVERS)):  # shards come up beside the gateway, which answers first
            time.sleep(0.1)
        plan = stream.plan(instance, server.url, seconds, batch=batch, singles=singles, **rates)
        every = min(1.0, seconds / 100)
        with sampled(lambda: memory("gateway"), every) as gateway, sampled(lambda: memory("shard"), every) as shard:
            flow = open_loop.run(plan)
    used = dict(zip(SERVERS, (gateway, shard), strict=True))
    ratios = [_memory_ratio(name, series, seconds) for name, series in used.items()]
    grids = (_totals(flow, used, seconds), *_minutes(flow, seconds))
    return Section("soak", list(_measurements(flow, seconds)), ratios, grids)


def growth(series: Series, seconds: float) -> float:
    """By which share a number has grown from the end of the warm-up to the end of the run, each over a window."""
    window = WINDOW * seconds
    start = min(WARM_UP, seconds / 5)
    return series.mean(seconds - window, seconds) / series.mean(start, start + window) - 1.0


def _memory_ratio(name: str, series: Series, seconds: float) -> Ratio:
    """How far below the limit the memory stayed: 1.05 over what it was of what it is."""
    value = (1 + GROWTH_AIM) / (1 + growth(series, seconds))
    return Ratio(f"memory of the {name}: 1.05 / growth", value, value, value, aim=1.0)


def _measurements(flow: Flow, seconds: float) -> Iterator[Measurement]:
    whole = {**flow.answers, "event to readable": flow.readable}
    for kind, requests in whole.items():
        p50, p99 = (requests.milliseconds(0.5),), (requests.milliseconds(0.99),)
        yield Measurement(kind, "/s", (len(requests.taken) / seconds,), p50_ms=p50, p99_ms=p99)


def _totals(flow: Flow, used: dict[str, Series], seconds: float) -> Grid:
    rows: list[tuple[str, tuple[float, ...]]] = [
        ("errors", (float(flow.errors.total()),)),
        *((f"error, {what}", (float(times),)) for what, times in flow.errors.items()),
        ("events never seen", (float(flow.unseen),)),
        ("events accepted", (float(flow.events),)),
    ]
    for name, series in used.items():
        rows.append((f"memory of the {name} at the end, MB", (series.mean((1 - WINDOW) * seconds, seconds) / 1e6,)))
        rows.append((f"memory of the {name}, growth in %", (100 * growth(series, seconds),)))
    return Grid("all in all", ("",), rows)


def _minutes(flow: Flow, seconds: float) -> Iterator[Grid]:
    """Latencies of every minute, or tenth of a shorter run."""
    width = min(60.0, seconds / 10)
    starts = [number * width for number in range(round(seconds / width))]
    kinds = {kind: flow.answers[kind] for kind in (READ, READS, EVENT, EVENTS)} | {"event to readable": flow.readable}
    columns = tuple(f"{what} {p}" for what in kinds for p in ("p50", "p99"))
    rows = [(f"{start:.0f} s", tuple(_pair(kinds, start, start + width))) for start in starts]
    yield Grid("milliseconds over time", columns, rows)


def _pair(kinds: dict[str, Requests], start: float, end: float) -> Iterator[float]:
    for requests in kinds.values():
        within = requests.between(start, end)
        yield within.milliseconds(0.5)
        yield within.milliseconds(0.99)
