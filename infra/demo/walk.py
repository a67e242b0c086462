"""The demo's walk: events to log, features, two trained versions, vectors, consumers and their reads; and its home.

Every part is the real one: Feast, Ray Train, Ray Serve, SQLAlchemy, Parquet, with the embedded defaults.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot
from portrait.feature_repo.ingest.ingest_report import IngestReport
from portrait.infra import generator
from portrait.infra.jobs.versions import import_data_set, take_in, train_version
from portrait.infra.portrait import Portrait
from portrait.infra.settings import Settings
from portrait.registry.errors import InvalidInput, PortraitError
from portrait.registry.progress import Progress
from portrait.registry.records.records import EmbeddingVersion
from portrait.serving.client import Client
from portrait.serving.operations.operations import Operations
from portrait.serving.running import RunningGateway, start
from portrait.training.backfill.backfill import backfill


class VectorsDiffer(PortraitError):
    """Two ways to read the same vector gave different numbers."""


def same_vector_everywhere(
    portrait: Portrait, url: str, consumer: str, user: str, version: EmbeddingVersion
) -> NDArray[np.float32]:
    """The user's vector, float32 [d], read in four ways; raises VectorsDiffer unless all are bit for bit the same."""
    portrait.reader.assignments.refresh()
    store = portrait.repo.feast
    service = store.get_feature_service(consumer)
    entity = [{"user_id": user}]
    rows = store.get_online_features(features=service, entity_rows=entity, full_feature_names=True).to_dict()
    answer = httpx.get(f"{url}/v1/consumers/{consumer}/embeddings/{user}").raise_for_status().json()
    with Client(url, consumer=consumer) as client:
        vectors: dict[str, NDArray[np.float32]] = {
            "portrait get": portrait.reader.read(consumer, [user]).parts[0].vectors[0],
            "HTTP": np.asarray(answer["vector"], dtype=np.float32),
            "Client": client.embedding(user).vector,
            "plain Feast": np.asarray(rows["user_embedding__vector"][0], dtype=np.float32),
        }
    stored = vectors["portrait get"]
    for name, vector in vectors.items():
        if vector.tobytes() != stored.tobytes() or answer["fingerprint"] != version.fingerprint:
            raise VectorsDiffer(f"{name} gives another vector for {user!r} at {version.id} than `portrait get`")
    return stored


RANKER, CHURN = "homepage_ranker", "churn_model"
NEWCOMER = "somebody-new"


class DemoFailed(PortraitError):
    """The demo found that a promise of Portrait does not hold."""


@dataclass(frozen=True)
class DataChoice:
    """The data of a demo: generated users, or a data set that has an adapter."""

    data_set: str | None = None
    path: Path | None = None
    users: int = 3000


@dataclass
class DemoOutcome:
    """The results of a demo, for its report."""

    portrait: Portrait
    ingest: IngestReport
    labels: dict[str, object]
    label: str
    versions: list[EmbeddingVersion] = field(default_factory=list)
    findings: list[tuple[str, str]] = field(default_factory=list)
    histories: pa.Table | None = None
    vectors: tuple[list[str], np.ndarray] | None = None
    stages: list[tuple[str, float]] = field(default_factory=list)


Stage = Callable[[str], None]
"""A function that is called with the name of each stage when it begins."""


def walk(home: Path, choice: DataChoice, say: Stage, progress: Progress) -> DemoOutcome:
    """Walk the whole path in an empty home; raises DemoFailed or VectorsDiffer when a check fails."""
    # The demo is an instance of its own, whatever the environment says, so that no shared server is touched.
    settings = Settings(home=home, registry_url="", feast_registry_url="", online_store_url="", ray_address="")
    with Portrait.prepare(settings) as portrait:
        clock = _Clock(say)
        clock.next("Generating users" if choice.data_set is None else f"Importing {choice.data_set}")
        outcome = _take_in(portrait, choice, progress)
        outcome.stages = clock.stages
        first = _embed(portrait, outcome, clock, progress, seed=1)
        operations = _without_feast(portrait)
        for name, task in ((RANKER, "rank the home page"), (CHURN, "who will not come back")):
            portrait.registry.consumers.add(name, "demo", task)
            operations.promote("demo", name, first.id, "first version")
        second = _embed(portrait, outcome, clock, progress, seed=2)
        clock.next("Serving by Ray Serve")
        portrait.repo.apply()
        with start(settings.model_copy(update={"port": 0})) as running:
            clock.next("Reading, promoting and rolling back")
            _check_serving(portrait, running, first, second, outcome)
        clock.next("Drawing")
        _collect(portrait, portrait.registry.versions.get(second.id), outcome)
        clock.end()
        return outcome


def _take_in(portrait: Portrait, choice: DataChoice, progress: Progress) -> DemoOutcome:
    if choice.data_set is None:
        files = generator.generate(portrait.settings.home / "generated", users=choice.users)
        report = take_in(portrait, files.events, files.items, files.users, progress)
        kept = portrait.settings.home / "labels" / "generated.parquet"  # where `portrait evaluate` looks for them
        kept.parent.mkdir(exist_ok=True)
        shutil.copy(files.labels, kept)
        labels = pq.read_table(files.labels, columns=["user_id", "taste"], partitioning=None).to_pydict()
        return DemoOutcome(
            portrait, report, dict(zip(labels["user_id"], labels["taste"], strict=True)), "planted taste"
        )
    if choice.path is None:
        raise DemoFailed(f"--data {choice.data_set} needs the path of the data set")
    report, label_file = import_data_set(portrait, choice.data_set, choice.path, progress)
    if label_file is None:
        return DemoOutcome(portrait, report, {}, "last seen")
    table = pq.read_table(label_file, partitioning=None)
    column = next(name for name in table.column_names if name not in ("user_id", "event_time"))
    labels = dict(zip(table.column("user_id").to_pylist(), table.column(column).to_pylist(), strict=True))
    return DemoOutcome(portrait, report, labels, column)


def _embed(
    portrait: Portrait, outcome: DemoOutcome, clock: "_Clock", progress: Progress, seed: int
) -> EmbeddingVersion:
    clock.next(f"Training version {seed} by Ray Train")
    version = train_version(portrait, "autoencoder", overrides=[f"seed={seed}"], progress=progress)
    clock.next(f"Embedding all users at {version.id}")
    report = backfill(portrait.repo, version.id, portrait.settings, progress=progress)
    outcome.findings.append(
        (f"{version.id} covers", f"{portrait.repo.count_vectors(version):,} of {report.users:,} users")
    )
    return version


def _without_feast(portrait: Portrait) -> Operations:
    """Operations that leave Feast behind for now, so that only the gateway's part of a promotion is timed."""
    return Operations(portrait.registry, portrait.repo, apply=lambda: None)


def _check_serving(
    portrait: Portrait, running: RunningGateway, first: EmbeddingVersion, second: EmbeddingVersion, outcome: DemoOutcome
) -> None:
    user, operations = portrait.log.user_ids(0)[0], _without_feast(portrait)
    with Client(running.url, consumer=RANKER) as ranker, Client(running.url, consumer=CHURN) as churn:
        before = same_vector_everywhere(portrait, running.url, RANKER, user, first)
        outcome.findings.append(("portrait get, HTTP, Client and plain Feast agree", f"bit for bit on {user!r}"))
        other = churn.embedding(user).vector
        operations.promote("demo", RANKER, second.id, "retrained")
        seconds = _seconds_until(lambda: ranker.embedding(user).version == second.id)
        outcome.findings.append((f"promotion of {RANKER} to {second.id} visible after", f"{seconds * 1000:.0f} ms"))
        still = churn.embedding(user).vector
        _require(still.tobytes() == other.tobytes(), f"{CHURN} reads other vectors though nobody promoted it")
        operations.rollback("demo", RANKER, "to show that it is one command")
        seconds = _seconds_until(lambda: ranker.embedding(user).version == first.id)
        again = ranker.embedding(user).vector
        _require(again.tobytes() == before.tobytes(), "a rollback gave other vectors")
        outcome.findings.append(("rollback visible after", f"{seconds * 1000:.0f} ms, the same vectors bit for bit"))
        operations.promote("demo", RANKER, second.id, "retrained")
        _seconds_until(lambda: ranker.embedding(user).version == second.id)
        cold = churn.embedding("nobody-ever-heard-of-me")
        outcome.findings.append(("a user whom nobody knows gets", f"the {cold.source} of {cold.version}"))
        _follow(portrait, churn, outcome)
    portrait.repo.apply()


def _follow(portrait: Portrait, client: Client, outcome: DemoOutcome) -> None:
    """Send an event and a sign-up over HTTP, and wait until their vectors can be read."""
    known = portrait.repo.read_inputs(portrait.log.user_ids(0)).to_pylist()
    active, now = next(row for row in known if row["item_ids"]), datetime.now(UTC)
    user, item = active["user_id"], {"service": active["services"][-1], "item_id": active["item_ids"][-1]}
    known_until = client.embedding(user).as_of
    client.send_events([{"user_id": user, "event_time": now, **item}])
    seconds = _seconds_until(lambda: client.embedding(user).as_of > max(now, known_until))
    outcome.findings.append(("an event sent over HTTP counts after", f"{seconds * 1000:.0f} ms"))
    client.send_users([{"user_id": NEWCOMER, "created_time": now, "onboarding_items": [item["item_id"]]}])
    seconds = _seconds_until(lambda: client.embedding(NEWCOMER).source == "stored")
    outcome.findings.append(("somebody who signs up has a vector after", f"{seconds * 1000:.0f} ms, before any event"))


def _seconds_until(condition: Callable[[], bool], within: float = 30.0) -> float:
    """Wait until the condition holds; returns the seconds that it took. Raises DemoFailed after `within` seconds."""
    started = time.perf_counter()
    while not condition():
        _require(time.perf_counter() - started < within, f"a change was not visible within {within:.0f} s")
        time.sleep(0.005)
    return time.perf_counter() - started


def _collect(portrait: Portrait, version: EmbeddingVersion, outcome: DemoOutcome) -> None:
    snapshot = cut_snapshot(portrait.log)
    outcome.versions = portrait.registry.versions.list()
    outcome.histories = pa.concat_tables(snapshot.read(bucket) for bucket in sorted(snapshot.buckets))
    users = outcome.histories.column("user_id").to_pylist()
    outcome.vectors = (users, portrait.repo.read_vectors(version, users).vectors)
    if not outcome.labels:
        outcome.labels = _last_seen(outcome.histories, snapshot)


def _last_seen(histories: pa.Table, snapshot: Snapshot) -> dict[str, object]:
    """How long ago each user was last seen, as labels for data without any."""
    labels: dict[str, object] = {}
    end = snapshot.as_of.timestamp() * 1e6
    for user, times in zip(histories.column("user_id").to_pylist(), histories.column("event_times"), strict=True):
        if len(times):
            days = (end - times[-1].as_py()) / 86_400e6
            labels[user] = next((name for limit, name in _AGES if days <= limit), "over a year")
    return labels


_AGES = ((30, "within 30 days"), (90, "within 90 days"), (180, "within 180 days"), (365, "within a year"))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoFailed(otherwise)


class _Clock:
    """Announces stages and remembers how long each took."""

    def __init__(self, say: Stage) -> None:
        self._say = say
        self._started = time.perf_counter()
        self._stage: str | None = None
        self.stages: list[tuple[str, float]] = []

    def next(self, stage: str) -> None:
        """End the last stage and begin this one."""
        self.end()
        self._stage, self._started = stage, time.perf_counter()
        self._say(stage)

    def end(self) -> None:
        """End the last stage, if there is one."""
        if self._stage is not None:
            self.stages.append((self._stage, time.perf_counter() - self._started))
            self._stage = None


MARKER = "made-by-portrait-demo"


def fresh_home(path: Path) -> Path:
    """An empty home with the demo's marker in it; the files of an earlier demo are removed.

    Raises InvalidInput for a file, and for a folder that is not empty and has no marker.
    """
    if path.exists() and not path.is_dir():
        raise InvalidInput(f"{path} is no folder: choose one with --home")
    if path.exists() and any(path.iterdir()):
        if not (path / MARKER).is_file():
            raise InvalidInput(
                f"{path} is not empty and no demo made it: choose another folder with --home, or empty it yourself"
            )
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / MARKER).touch()
    return path
