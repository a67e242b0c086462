"""Reads by user id: the gateway beside `feast serve` over the same store, an empty handler, and direct reads."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import httpx
import numpy as np
import orjson

from benchmarks import direct, empty, load, raw_redis, servers
from benchmarks.instance import CONSUMER, Instance
from benchmarks.load import Load
from benchmarks.read_ratios import (
    ARROW_BATCH,
    EMPTY,
    FEAST_BATCH,
    FEAST_SINGLE,
    JSON_BATCH,
    RAW_BATCH,
    RAW_SINGLE,
    SINGLE,
    read_ratios,
)
from benchmarks.rounds import Measurement, Section, alternate
from benchmarks.server import Server
from portrait.feature_repo.declaration.views import view_name
from portrait.registry.errors import PortraitError
from portrait.serving.reads.answers import ARROW

CLIENTS = (1, 16, 64)  # connections
BATCH = 100
SINGLES, BATCHES = 2000, 200  # distinct requests
WARM_UP = 0.5  # seconds, before each measurement


class AnswersDiffer(PortraitError):
    """Two servers that are compared gave different vectors."""


@dataclass(frozen=True)
class Target:
    """Requests to one server."""

    server: Server
    requests: list[bytes]

    def run(self, clients: int, seconds: float) -> "Sample":
        """One measurement, after a warm-up."""
        before = self.server.cpu_seconds()
        measured = load.measure(self.server.url, self.requests, clients, seconds, WARM_UP)
        spent = (self.server.cpu_seconds() - before) / measured.answered * 1e6
        return Sample(measured, spent if self.server.roots else None)


@dataclass(frozen=True)
class Sample:
    """What one turn found."""

    load: Load
    cpu_us: float | None = None  # of the server, a request


def measure(instance: Instance, rounds: int, seconds: float) -> Section:
    """Requests a second and latencies, at each number of clients."""
    singles, batches = _draw(instance)
    with ExitStack() as stack:
        gateway = stack.enter_context(servers.gateway(instance.settings))
        feast = stack.enter_context(servers.feast_serve(instance.settings))
        echo = stack.enter_context(servers.echo())
        _check_same(gateway.url, feast.url, instance, batches[0])
        targets = dict(_targets(gateway, feast, echo, instance, singles, batches))
        targets |= _raw(instance, singles, batches)
        measured = [one for clients in CLIENTS for one in _over_http(targets, clients, rounds, seconds)]
        measured += _direct(instance, singles, batches, rounds, seconds)
    return Section("reads", measured, list(read_ratios(measured)))


def _draw(instance: Instance) -> tuple[list[str], list[list[str]]]:
    """Users of single reads, and of batches that name nobody twice."""
    rng, users = np.random.default_rng(0), np.array(instance.user_ids, dtype=object)
    size = min(BATCH, len(users))
    batches = [users[rng.permutation(len(users))[:size]].tolist() for _ in range(BATCHES)]
    return users[rng.integers(len(users), size=SINGLES)].tolist(), batches


def _targets(
    gateway: Server, feast: Server, echo: Server, instance: Instance, singles: list[str], batches: list[list[str]]
) -> Iterator[tuple[str, Target]]:
    ours = f"{gateway.url}/v1/consumers/{CONSUMER}/embeddings"
    theirs = f"{feast.url}/get-online-features"
    bodies = [orjson.dumps({"users": users}) for users in batches]
    yield SINGLE, Target(gateway, [load.request(f"{ours}/{user}") for user in singles])
    yield FEAST_SINGLE, Target(feast, [load.request(theirs, _asked(instance, [user])) for user in singles])
    yield EMPTY, Target(gateway, [load.request(f"{gateway.url}{empty.PATH}")])
    yield "load generator alone", Target(echo, [load.request(f"{echo.url}/")])
    yield JSON_BATCH, Target(gateway, [load.request(ours, body) for body in bodies])
    yield ARROW_BATCH, Target(gateway, [load.request(ours, body, ARROW) for body in bodies])
    yield FEAST_BATCH, Target(feast, [load.request(theirs, _asked(instance, users)) for users in batches])


def _raw(instance: Instance, singles: list[str], batches: list[list[str]]) -> dict[str, Target]:
    """Redis without a server before it; nothing where the store is SQLite."""
    url = instance.settings.online_store_url
    if not url:
        return {}
    server = Server(url, ())
    return {
        RAW_SINGLE: Target(server, [raw_redis.request(instance, [user]) for user in singles]),
        RAW_BATCH: Target(server, [raw_redis.request(instance, users) for users in batches]),
    }


def _asked(instance: Instance, users: list[str]) -> bytes:
    return orjson.dumps({"features": [f"{view_name(instance.version.id)}:vector"], "entities": {"user_id": users}})


def _over_http(targets: dict[str, Target], clients: int, rounds: int, seconds: float) -> Iterator[Measurement]:
    runs = {name: partial(target.run, clients, seconds) for name, target in targets.items()}
    for name, samples in alternate(runs, rounds).items():
        yield _measurement(name, clients, samples)


def _direct(
    instance: Instance, singles: list[str], batches: list[list[str]], rounds: int, seconds: float
) -> Iterator[Measurement]:
    with direct.readers(instance) as readers:
        runs = {
            f"{name}, {size}": partial(_read_directly, read, requests, seconds)
            for size, requests in (("1 user", [[user] for user in singles]), ("100 users", batches))
            for name, read in readers.items()
        }
        for name, samples in alternate(runs, rounds).items():
            yield _measurement(f"direct: {name}", 1, samples)


def _read_directly(read: direct.Read, requests: Sequence[Sequence[str]], seconds: float) -> Sample:
    return Sample(direct.measure(read, requests, seconds))


def _measurement(name: str, clients: int, samples: Sequence[Sample]) -> Measurement:
    loads = [sample.load for sample in samples]
    costs = tuple(sample.cpu_us for sample in samples if sample.cpu_us is not None)
    return Measurement(
        name,
        "requests/s",
        tuple(one.per_second for one in loads),
        clients,
        tuple(one.p50_ms for one in loads),
        tuple(one.p99_ms for one in loads),
        costs,
    )


def _check_same(gateway: str, feast: str, instance: Instance, users: list[str]) -> None:
    """What is compared has to be the same work: both give the same float32, bit for bit."""
    ours = httpx.post(f"{gateway}/v1/consumers/{CONSUMER}/embeddings", json={"users": users}).raise_for_status().json()
    asked = orjson.loads(_asked(instance, users))
    theirs = httpx.post(f"{feast}/get-online-features", json=asked).raise_for_status().json()
    one = np.array([row["vector"] for row in ours["embeddings"]], np.float32)
    other = np.array(theirs["results"][theirs["metadata"]["feature_names"].index("vector")]["values"], np.float32)
    if one.tobytes() != other.tobytes() or any(row["source"] != "stored" for row in ours["embeddings"]):
        raise AnswersDiffer("the gateway and `feast serve` answer different vectors for the same users")
