"""Promotions: how many a second, how soon a gateway serves one, and what it costs to know what a consumer reads."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from statistics import median

import httpx
import numpy as np
from sqlalchemy import update

from benchmarks import servers
from benchmarks.instance import Instance
from benchmarks.rounds import Measurement, Ratio, Section, alternate, ratio
from portrait.registry.database.tables import Instance as InstanceRow
from portrait.registry.records.evidence_facts import ArtifactFacts
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.versions.versions import NewVersion
from portrait.serving.state.assignment_poller import Assignments, RegistrySource

CONSUMERS, VERSIONS, THREADS = 200, 40, 8
PROMOTIONS, RESOLUTIONS = 100, 20_000  # a turn
PAUSE = 0.137  # seconds between promotions that are looked for: no beat with the gateway's polls
VISIBLE_AIM = 0.3  # seconds, of the 99th percentile
RESOLVE_LIMIT = 20e-6  # seconds


class Moves:
    """Endless promotions of the consumers in turn, each to the version after the one that it reads."""

    def __init__(self, registry: Registry, consumers: list[str], versions: list[str]) -> None:
        self._registry, self._consumers, self._versions = registry, consumers, versions
        self._numbers = count()

    def next(self) -> tuple[str, str]:
        """Promote the next consumer: (consumer, the version that it reads from now on)."""
        turn, place = divmod(next(self._numbers), len(self._consumers))
        consumer, version = self._consumers[place], self._versions[(turn + place) % len(self._versions)]
        self._registry.promotions.promote(consumer, version, "benchmark")
        return consumer, version


def measure(instance: Instance, rounds: int) -> Section:
    """With 200 consumers and 40 versions: promotions a second, milliseconds to the gateway, microseconds to resolve."""
    registry = instance.portrait.registry
    moves = Moves(registry, list(_consumers(registry)), list(_versions(registry, instance.version)))
    for _ in range(CONSUMERS):
        moves.next()
    rates = alternate(
        {
            "a commit of one row": lambda: _rate(lambda: _commit(registry)),
            "promotions, one at a time": lambda: _rate(moves.next),
            f"promotions, {THREADS} threads": lambda: _rate(moves.next, THREADS),
        },
        rounds,
    )
    commits, one, many = (Measurement(what, "/s", tuple(samples)) for what, samples in rates.items())
    resolving = Measurement("resolving a consumer", "/s", tuple(_resolutions(registry) for _ in range(rounds)))
    with servers.gateway(instance.settings) as gateway:
        visible = _visible(gateway.url, moves, rounds)
    promptness = VISIBLE_AIM * 1e3 / visible.p99_ms[0]
    return Section(
        "promotions",
        [commits, one, many, resolving, visible],
        [
            ratio("promotions / bare commits", one, commits),
            Ratio("20 us / resolving a consumer", *_over(RESOLVE_LIMIT, resolving), aim=1.0),
            Ratio("300 ms / p99 from commit to visible", promptness, promptness, promptness, aim=1.0),
        ],
    )


def _consumers(registry: Registry) -> Iterator[str]:
    for number in range(CONSUMERS):
        yield registry.consumers.add(f"consumer_{number}", "benchmark").name


def _versions(registry: Registry, model: EmbeddingVersion) -> Iterator[str]:
    """The real version under 40 numbers: what a gateway loads for each is there."""
    [vectors] = [one.facts for kind, one in registry.evidence.newest(model.id).items() if kind == "vectors"]
    for number in range(VERSIONS):
        copy = registry.versions.register(
            NewVersion(
                family=model.family,
                fingerprint=model.fingerprint,
                dimension=model.dimension,
                run=f"{model.run}-copy-{number}",
                artifact=model.artifact,
                snapshot=model.snapshot,
                data_from=model.data_from,
                data_to=model.data_to,
                feature_schema=model.feature_schema,
                config=model.config,
            )
        )
        backfill = registry.backfills.begin(copy.id, model.snapshot, model.data_to, 0)
        registry.backfills.finish(backfill.id)
        registry.evidence.record(copy.id, ArtifactFacts(True, copy.fingerprint), vectors)
        yield copy.id


def _rate(work: Callable[[], object], threads: int = 1) -> float:
    started = time.perf_counter()
    if threads == 1:
        for _ in range(PROMOTIONS):
            work()
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(PROMOTIONS)]:
                done.result()
    return PROMOTIONS / (time.perf_counter() - started)


def _commit(registry: Registry) -> None:
    """The least that a change of the registry can cost: one row, durable."""
    with registry.database.transaction() as session:
        session.execute(update(InstanceRow).values(projected=InstanceRow.projected))


def _resolutions(registry: Registry) -> float:
    """Look-ups a second of what a consumer reads, in a gateway's memory."""
    assignments = Assignments(RegistrySource(registry))
    assignments.refresh()
    names = [f"consumer_{number % CONSUMERS}" for number in range(RESOLUTIONS)]
    started = time.perf_counter()
    for name in names:
        assignments.route(name)
    return RESOLUTIONS / (time.perf_counter() - started)


def _visible(url: str, moves: Moves, rounds: int) -> Measurement:
    """From the end of the commit until the gateway's answer names the version."""
    waits = []
    with httpx.Client(base_url=url) as client:
        for _ in range(rounds * PROMOTIONS):
            consumer, version = moves.next()
            waits.append(_wait(client, consumer, version))
            time.sleep(PAUSE)
    milliseconds = np.array(waits).reshape(rounds, PROMOTIONS) * 1e3
    p50, p99 = np.percentile(milliseconds, [50, 99])
    seen = tuple(1e3 / float(np.median(row)) for row in milliseconds)
    return Measurement("commit to visible at the gateway", "/s", seen, p50_ms=(float(p50),), p99_ms=(float(p99),))


def _wait(client: httpx.Client, consumer: str, version: str) -> float:
    started = time.perf_counter()
    while client.get(f"/v1/consumers/{consumer}").json()["assignment"]["stable"] != version:
        pass
    return time.perf_counter() - started


def _over(limit: float, rate: Measurement) -> tuple[float, float, float]:
    each = sorted(limit * one for one in rate.rounds)
    return median(each), each[0], each[-1]
