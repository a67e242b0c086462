"""Freshness: from sending an event until its user's vector knows it, at rising rates until one does not hold."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import open_loop, servers, stream
from benchmarks.instance import Instance
from benchmarks.open_loop import EVENT, EVENTS, Flow
from benchmarks.processes import processor_seconds
from benchmarks.rounds import Grid, Measurement, Ratio, Section
from benchmarks.watching import Series, backlog, difference, stages, waiting

RATES = (100.0, 300.0, 500.0, 750.0, 1000.0, 1500.0)
WARM_UP = 3.0  # seconds at a low rate, once
P50_AIM, P99_AIM, RATE_AIM = 0.1, 0.5, 300.0  # seconds, seconds, events a second
GROWTH = 0.05  # of the rate, by which the backlog may seem to grow a second: shards note their progress every second
SENT = 0.95  # share of the rate that has to be accepted
BEAT = 1.5  # seconds within which a shard tells what it has counted
EMPTY_WITHIN = 120.0


@dataclass(frozen=True)
class Step:
    """What one rate came to."""

    rate: float  # events a second, as asked for
    seconds: float
    flow: Flow
    backlog: Series
    stages: dict[str, float]  # seconds the shards took, and `rows`
    processors: dict[str, float]  # processor seconds by process

    @property
    def growth(self) -> float:
        """Rows a second by which the backlog grew in the second half."""
        return self.backlog.slope(self.seconds / 2)

    @property
    def holds(self) -> bool:
        """Whether everything was accepted and readable in time, and nothing piled up."""
        readable = self.flow.readable.milliseconds(0.99) <= P99_AIM * 1000
        complete = not self.flow.errors and not self.flow.unseen
        return readable and complete and self.accepted >= SENT * self.rate and self.growth <= GROWTH * self.rate

    @property
    def accepted(self) -> float:
        """Events a second."""
        return self.flow.events / self.seconds


def measure(instance: Instance, rates: Sequence[float], seconds: float, batch: int, singles: float) -> Section:
    """Rates in rising order, up to and with the first that does not hold."""
    stream.with_two_versions(instance)  # before anything is served
    steps = []
    with servers.serving(instance.settings) as server:
        shape = {"batch": batch, "singles": singles}
        open_loop.run(stream.plan(instance, server.url, WARM_UP, rate=min(rates) / 2, **shape))
        for number, rate in enumerate(sorted(rates)):
            plan = stream.plan(instance, server.url, seconds, rate=rate, seed=number + 1, **shape)
            steps.append(_step(instance, plan))
            if not steps[-1].holds:
                break
    return Section("freshness", list(_measurements(steps)), list(_ratios(steps)), tuple(_grids(steps)))


def _step(instance: Instance, plan: open_loop.Plan) -> Step:
    settings, portrait = instance.settings, instance.portrait
    postgres = not portrait.database.is_sqlite
    _settle(instance)
    counted = stages(portrait.registry)
    used = processor_seconds(settings.online_store_url, postgres)
    with backlog(portrait.database) as waits:
        flow = open_loop.run(plan)
    processors = difference(processor_seconds(settings.online_store_url, postgres), used)
    _settle(instance)
    processors["generator"] = flow.cpu_seconds
    counts = difference(stages(portrait.registry), counted)
    return Step(plan.rate, plan.seconds, flow, waits, counts, processors)


def _settle(instance: Instance) -> None:
    """Wait until nothing waits, and the shards have said what they did."""
    until = time.monotonic() + EMPTY_WITHIN
    while waiting(instance.portrait.database) and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(BEAT)


def _measurements(steps: Sequence[Step]) -> Iterator[Measurement]:
    for step in steps:
        at = f"{step.rate:,.0f}/s"
        spent = (sum(step.processors.values()) / max(step.flow.events, 1) * 1e6,)
        p50, p99 = ((step.flow.readable.milliseconds(quantile),) for quantile in (0.5, 0.99))
        what = f"event to readable, {at}"
        yield Measurement(what, "events/s", (step.accepted,), step.flow.connections, p50, p99, spent)
        for kind in (EVENT, EVENTS):
            answers = step.flow.answers[kind]
            p50, p99 = (answers.milliseconds(0.5),), (answers.milliseconds(0.99),)
            sent = (len(answers.taken) / step.seconds,)
            yield Measurement(f"202 to one {kind}, {at}", "requests/s", sent, p50_ms=p50, p99_ms=p99)


def _ratios(steps: Sequence[Step]) -> Iterator[Ratio]:
    best = max((step.rate for step in steps if step.holds), default=0.0)
    yield _against("events/s that hold / 300", best / RATE_AIM)
    for step in steps:
        if step.rate >= RATE_AIM:
            readable = step.flow.readable
            at = f"at {step.rate:,.0f} events/s"
            yield _against(f"100 ms / p50 of event to readable, {at}", P50_AIM * 1e3 / readable.milliseconds(0.5))
            yield _against(f"500 ms / p99 of event to readable, {at}", P99_AIM * 1e3 / readable.milliseconds(0.99))


def _against(what: str, value: float) -> Ratio:
    return Ratio(what, value, value, value, aim=1.0)


def _grids(steps: Sequence[Step]) -> Iterator[Grid]:
    columns = tuple(f"{step.rate:,.0f}/s" for step in steps)
    yield Grid(
        "at each rate of events",
        columns,
        [
            ("holds (1: yes)", tuple(float(step.holds) for step in steps)),
            ("accepted, events/s", tuple(step.accepted for step in steps)),
            ("backlog, mean rows", tuple(step.backlog.mean(0, step.seconds) for step in steps)),
            ("backlog, growth in rows/s", tuple(step.growth for step in steps)),
            ("events looked for", tuple(float(len(step.flow.readable.taken)) for step in steps)),
            ("of them never seen", tuple(float(step.flow.unseen) for step in steps)),
            ("errors", tuple(float(step.flow.errors.total()) for step in steps)),
            ("requests late by, p99 ms", tuple(step.flow.late_ms for step in steps)),
        ],
    )
    names = sorted({name for step in steps for name in step.stages} - {"rows"})
    yield Grid("shard: microseconds an event", columns, [(name, _each(steps, name)) for name in names])
    names = sorted({name for step in steps for name in step.processors})
    shares = [(name, tuple(100 * step.processors.get(name, 0.0) / step.seconds for step in steps)) for name in names]
    yield Grid("processor time, % of one core", columns, shares)


def _each(steps: Sequence[Step], stage: str) -> tuple[float, ...]:
    return tuple(step.stages.get(stage, 0.0) / max(step.stages.get("rows", 0.0), 1.0) * 1e6 for step in steps)
