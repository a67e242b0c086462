"""Backfill: everybody gets a vector, once or twice, killed in the middle or not, here or on Ray, early or late."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.declaration.environment import feast_environment
from portrait.feature_repo.history.snapshot_cut import Snapshot, cut_snapshot, load_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.schemas import microseconds
from portrait.feature_repo.store.offline_inputs import read_inputs_offline
from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict, NotFound
from portrait.training.backfill.backfill import BackfillReport, backfill, windows_moved
from portrait.training.backfill.vectors_at_rest import bucket_file, version_folder, write_vectors
from portrait.training.encoding.encoder import load_encoder
from tests.instances import USERS, copy_of
from tests.training.stored import Stored, assert_the_same, offline, offline_files, online, users_of

AUTUMN = datetime(2024, 9, 1, tzinfo=UTC)
SPRING = datetime(2024, 5, 1, tzinfo=UTC)


def run(
    portrait: Portrait, as_of: datetime | None = None, stale: bool = False, version: str = "autoencoder-1"
) -> BackfillReport:
    return backfill(portrait.repo, version, portrait.settings, as_of, stale)


def test_everybody_gets_a_vector_offline_and_online(either_registered: Portrait, version_id: str) -> None:
    steps: list[tuple[int, int]] = []
    report = backfill(
        either_registered.repo,
        version_id,
        either_registered.settings,
        progress=lambda _step, done, total, _note="": steps.append((done, total)),
    )
    version = either_registered.registry.versions.get(version_id)
    assert version.state == VersionState.READY
    assert version.last_as_of == report.as_of == cut_snapshot(either_registered.log).as_of
    assert report.users == report.embedded == report.written_online == USERS
    assert report.users_per_second > 0
    assert either_registered.repo.count_vectors(version) == USERS
    stored = online(either_registered, version_id)
    assert stored.users == users_of(either_registered) and len(stored) == USERS
    assert stored == offline(either_registered, report.snapshot, version_id)
    assert set(stored.as_of) == {microseconds(report.as_of)}
    vectors = np.frombuffer(stored.vectors, np.float32).reshape(USERS, version.dimension)
    assert np.isfinite(vectors).all() and vectors.std() > 0.1
    assert steps == sorted(steps) and steps[-1] == (USERS, USERS)


def test_a_second_pass_changes_nothing(backfilled: Portrait) -> None:
    before = online(backfilled)
    report = run(backfilled)
    assert (report.embedded, report.written_online) == (USERS, 0)
    assert online(backfilled) == offline(backfilled, report.snapshot) == before
    assert len(backfilled.registry.backfills.list("autoencoder-1")) == 1


def test_a_late_pass_at_an_earlier_time_never_replaces_a_fresher_vector(backfilled: Portrait) -> None:
    before = online(backfilled)
    report = run(backfilled, AUTUMN)
    assert report.embedded == USERS and report.written_online == 0
    assert online(backfilled) == before
    early = offline(backfilled, report.snapshot)
    assert early.users == before.users and early.vectors != before.vectors
    assert set(early.as_of) == {microseconds(AUTUMN)}
    assert backfilled.registry.versions.get("autoencoder-1").last_as_of > AUTUMN


def test_a_pass_at_a_later_time_replaces(registered: Portrait) -> None:
    assert run(registered, AUTUMN).written_online == USERS
    report = run(registered)
    assert report.written_online == USERS
    assert online(registered) == offline(registered, report.snapshot)


def test_stale_embeds_those_whose_windows_moved_and_those_behind(
    either_registered: Portrait, version_id: str, tmp_path: Path
) -> None:
    run(either_registered, AUTUMN, version=version_id)
    before, later = online(either_registered, version_id), AUTUMN + timedelta(days=5)
    report = run(either_registered, later, stale=True, version=version_id)

    after = online(either_registered, version_id)
    changed = {user for user, old, new in zip(before.users, before.as_of, after.as_of, strict=True) if old != new}
    snapshot = load_snapshot(either_registered.settings.home, report.snapshot)
    assert changed == expected_stale(either_registered, version_id, before, AUTUMN, snapshot)
    assert 0 < len(changed) < USERS
    assert report.embedded == report.written_online == len(changed)
    assert report.users == USERS
    fresh = offline(either_registered, f"{report.snapshot}-stale", version_id)
    assert set(fresh.users) == changed
    assert run(either_registered, later, stale=True, version=version_id).embedded == 0

    # Nobody's windows move within a microsecond, but one user has a new event, and one is new.
    mover = next(user for user in before.users if user not in changed)
    events = pa.table(
        {"user_id": [mover, "newcomer"], "item_id": ["music-0001", "music-0002"], "event_time": [later] * 2}
    )
    pq.write_table(events, tmp_path / "events.parquet")
    assert ingest(either_registered.log, tmp_path / "events.parquet").events.accepted == 2
    late = run(either_registered, later + timedelta(microseconds=1), stale=True, version=version_id)
    assert late.embedded == late.written_online == 2
    assert set(offline(either_registered, f"{late.snapshot}-stale", version_id).users) == {mover, "newcomer"}


def expected_stale(
    portrait: Portrait, version_id: str, before: Stored, since: datetime, snapshot: Snapshot
) -> set[str]:
    """Users with an event that moved through the model's windows, and those with a profile that is new."""
    version = portrait.registry.versions.get(version_id)
    windows = load_encoder(portrait.settings.home / version.artifact, version.fingerprint).window_days
    known = dict(zip(before.users, before.position, strict=True))
    stale: set[str] = set()
    for bucket in snapshot.buckets:
        users = read_inputs_offline(portrait.repo, snapshot, bucket)
        moved = windows_moved(users, np.full(len(users), microseconds(since)), microseconds(snapshot.as_of), windows)
        rows = zip(users["user_id"].to_pylist(), users["position"].to_pylist(), moved.tolist(), strict=True)
        stale |= {user for user, position, has_moved in rows if has_moved or position > known[user]}
    return stale


def test_stale_on_a_version_without_vectors_embeds_everybody(registered: Portrait) -> None:
    report = run(registered, stale=True)
    assert report.embedded == report.written_online == USERS


def test_the_pool_of_ray_data_gives_the_same(registered: Portrait, backfilled_home: Path, ray_session: None) -> None:
    settings = registered.settings.model_copy(update={"ray_from_users": 1, "backfill_workers": 2})
    report = backfill(registered.repo, "autoencoder-1", settings)
    assert report.users == report.embedded == report.written_online == USERS
    assert registered.registry.backfills.latest("autoencoder-1").finished_at is not None
    with copy_of(backfilled_home, registered.settings.home.with_name("in-process")) as unbroken:
        assert online(registered) == offline(registered, report.snapshot)
        assert_the_same(online(registered), online(unbroken))


def test_a_killed_pass_goes_on_by_bucket(registered: Portrait, backfilled_home: Path) -> None:
    done = kill_in_the_middle(registered)
    snapshot = cut_snapshot(registered.log)
    files = offline_files(registered, snapshot.id)
    assert len(files) >= len(done)
    for file in files:  # whatever a reader can see is whole
        bucket = int(file.stem.removeprefix("bucket="))
        assert pq.read_table(file, partitioning=None).num_rows == snapshot.buckets[bucket]
    assert registered.registry.versions.get("autoencoder-1").state == VersionState.BACKFILLING

    report = run(registered)
    assert report.users == USERS
    assert report.embedded == USERS - sum(snapshot.buckets[bucket] for bucket in done)
    assert 0 < report.written_online <= report.embedded
    assert len(registered.registry.backfills.list("autoencoder-1")) == 1
    assert registered.registry.versions.get("autoencoder-1").state == VersionState.READY
    with copy_of(backfilled_home, registered.settings.home.with_name("unbroken")) as unbroken:
        assert online(registered) == offline(registered, report.snapshot)
        assert_the_same(online(registered), online(unbroken))


def kill_in_the_middle(portrait: Portrait) -> set[int]:
    """Kill a real `portrait backfill` at a random moment after its first bucket; returns the buckets that it did."""
    program = Path(sys.executable).with_name("portrait")
    environment = {**os.environ, **feast_environment(portrait.settings)}
    with subprocess.Popen([program, "backfill", "autoencoder-1"], env=environment, stderr=subprocess.PIPE) as process:
        while not done_buckets(portrait):
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = done_buckets(portrait)
    latest = portrait.registry.backfills.latest("autoencoder-1")
    assert latest is not None and latest.finished_at is None, "it was too fast to be killed"
    return done


def done_buckets(portrait: Portrait) -> set[int]:
    latest = portrait.registry.backfills.latest("autoencoder-1")
    return {int(bucket) for bucket in latest.buckets_done} if latest else set()


def test_feast_materialize_brings_vectors_that_are_newer_and_only_those(backfilled: Portrait) -> None:
    before, view = online(backfilled), "user_embedding__autoencoder_1"
    snapshot = cut_snapshot(backfilled.log)
    elsewhere = snapshot.as_of + timedelta(days=1)  # as if another machine had made a pass over our files
    made = replace(snapshot, as_of=elsewhere)
    folder = version_folder(backfilled.settings.home, "autoencoder-1") / "elsewhere"
    rng = np.random.default_rng(0)
    for bucket in made.buckets:
        users = made.read(bucket)
        vectors = rng.normal(size=(len(users), 16)).astype(np.float32)
        position = users.column("position").to_numpy()
        file, ids = bucket_file(folder, bucket), users.column("user_id")
        write_vectors(backfilled.settings.home, file, ids, vectors, position, microseconds(elsewhere), 1)
    assert online(backfilled) == before

    def materialize(end: datetime) -> None:
        backfilled.repo.feast.materialize(SPRING, end, feature_views=[view])

    materialize(elsewhere + timedelta(seconds=1))
    newer = online(backfilled)
    assert newer == offline(backfilled, "elsewhere") and newer.vectors != before.vectors
    materialize(snapshot.as_of + timedelta(seconds=1))  # only sees the older pass
    assert online(backfilled) == newer


def test_versions_that_cannot_be_backfilled_are_named(registered: Portrait) -> None:
    with pytest.raises(NotFound, match=r"autoencoder-7.*autoencoder-1"):
        backfill(registered.repo, "autoencoder-7", registered.settings)
    registered.registry.versions.fail("autoencoder-1", "the loss is not finite")
    with pytest.raises(Conflict, match=r"autoencoder-1 is failed"):
        run(registered)
    assert registered.registry.backfills.list("autoencoder-1") == []
    assert online(registered).users == []
