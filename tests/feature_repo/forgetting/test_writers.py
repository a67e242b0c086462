"""Writers during a forgetting: none of them brings the user back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.snapshot_cut import cut_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.infra.portrait import Portrait
from portrait.training.backfill.backfill import backfill
from tests.feature_repo.forgetting.conftest import events_file
from tests.feature_repo.forgetting.traces import traces
from tests.instances import USERS

Once = Callable[[], None]


@pytest.fixture
def user(backfilled: Portrait) -> str:
    return backfilled.log.user_ids(5)[0]


@pytest.fixture
def forget(backfilled: Portrait, user: str) -> Once:
    """Forget the user, at the first call."""
    reports = []

    def once() -> None:
        if not reports:
            reports.append(None)
            reports[0] = backfilled.operations.forget("ann", user)

    return once


@pytest.mark.parametrize("step", ["read files", "write events", "write users"])
def test_an_ingest_judges_again(backfilled: Portrait, user: str, forget: Once, tmp_path: Path, step: str) -> None:
    other = backfilled.log.user_ids(5)[1]
    events = tmp_path / "events.csv"
    events.write_text(f"user_id,item_id,event_time\n{user},a,2024-12-30\n{other},a,2024-12-30\n{user},,2024-12-30\n")
    users = tmp_path / "users.csv"
    users.write_text(f"user_id,country\n{user},PT\n{other},PT\n")

    def meanwhile(name: str, done: int, total: int, note: str = "") -> None:
        if name == step and done == total:
            forget()

    report = ingest(backfilled.log, events, users=users, progress=meanwhile)
    assert (report.events.accepted, report.events.rejected) == (1, {"the user was forgotten": 2})
    assert (report.users.accepted, report.users.rejected) == (1, {"the user was forgotten": 1})
    assert pq.read_table(report.events.rejects).column("user_id").to_pylist() == [None, None]
    assert len(list((backfilled.settings.home / "rejects").iterdir())) == 2
    assert traces(backfilled, user) == []
    assert sum(backfilled.log.user_ids(5).count(one) for one in (user, other)) == 1


def test_a_file_whose_good_rows_were_all_known_keeps_no_rejects_of_the_user(
    backfilled: Portrait, user: str, forget: Once, tmp_path: Path
) -> None:
    events = tmp_path / "events.csv"
    events.write_text(f"user_id,item_id,event_time\n{user},,2024-12-30\n")
    report = ingest(backfilled.log, events, progress=lambda step, *_: forget() if step == "write events" else None)
    assert report.events.rejected == {"the user was forgotten": 1}
    assert traces(backfilled, user) == []


def test_a_cut_leaves_the_user_out(backfilled: Portrait, user: str, forget: Once, tmp_path: Path) -> None:
    ingest(backfilled.log, events_file(tmp_path / "e.parquet", "newcomer"))  # or the snapshot would be there already

    def meanwhile(step: str, done: int, total: int, note: str = "") -> None:
        if done == total:
            forget()

    snapshot = cut_snapshot(backfilled.log, progress=meanwhile)
    assert snapshot.users == sum(snapshot.buckets.values()) == USERS
    assert sum(snapshot.read(bucket).num_rows for bucket in snapshot.buckets) == USERS
    assert traces(backfilled, user) == []


def test_a_cut_whose_segments_are_replaced_reads_them_again(
    backfilled: Portrait, user: str, forget: Once, tmp_path: Path
) -> None:
    ingest(backfilled.log, events_file(tmp_path / "e.parquet", "newcomer"))
    snapshot = cut_snapshot(backfilled.log, progress=lambda step, *_: forget())
    assert snapshot.users == USERS and traces(backfilled, user) == []


@pytest.mark.parametrize("seen", ["before its bucket", "after its bucket"])
def test_a_backfill_finishes_without_the_user(
    backfilled: Portrait, user: str, forget: Once, tmp_path: Path, seen: str
) -> None:
    ingest(backfilled.log, events_file(tmp_path / "e.parquet", "newcomer"))
    buckets = sorted(cut_snapshot(backfilled.log).buckets)
    at = buckets.index(5) + (seen == "after its bucket")
    steps: list[int] = []

    def meanwhile(_step: str, done: int, _total: int, _note: str = "") -> None:
        steps.append(done)
        if len(steps) == at:
            forget()

    report = backfill(backfilled.repo, "autoencoder-1", backfilled.settings, progress=meanwhile)
    assert len(steps) == len(buckets)
    record = backfilled.registry.backfills.latest("autoencoder-1")
    assert record is not None and record.finished and record.users_expected == USERS
    assert traces(backfilled, user) == []
    again = backfill(backfilled.repo, "autoencoder-1", backfilled.settings)
    assert (again.snapshot, again.users, again.written_online) == (report.snapshot, USERS, 0)
    record = backfilled.registry.backfills.latest("autoencoder-1")
    assert record is not None and (record.users_expected, record.users_done) == (USERS, USERS)


def test_a_backfill_that_was_cut_short_goes_on_without_the_user(
    backfilled: Portrait, user: str, tmp_path: Path
) -> None:
    ingest(backfilled.log, events_file(tmp_path / "e.parquet", "newcomer"))

    class Stopped(Exception):
        pass

    steps: list[int] = []

    def stop(_step: str, done: int, _total: int, _note: str = "") -> None:
        steps.append(done)
        if len(steps) == 10:
            raise Stopped

    with pytest.raises(Stopped):
        backfill(backfilled.repo, "autoencoder-1", backfilled.settings, progress=stop)
    begun = backfilled.registry.backfills.latest("autoencoder-1")
    backfilled.operations.forget("ann", user)
    report = backfill(backfilled.repo, "autoencoder-1", backfilled.settings)
    assert 0 < report.embedded < report.users == USERS
    record = backfilled.registry.backfills.latest("autoencoder-1")
    assert begun is not None and record is not None and record.id == begun.id and record.finished


@pytest.mark.parametrize("method", ["write_vectors", "write_rows"])
def test_what_is_written_online_at_the_same_time_is_taken_back(
    backfilled: Portrait, user: str, forget: Once, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    repo = backfilled.repo
    version = backfilled.registry.versions.get("autoencoder-1")
    others = [one for one in backfilled.log.user_ids(5) if one != user]
    before = repo.read_vectors(version, others)
    events = events_file(tmp_path / "e.parquet", user, *others)
    ingest(backfilled.log, events)
    really = getattr(type(repo.online), method)

    def forgotten_meanwhile(*arguments: Any, **named: Any) -> Any:
        forget()
        return really(repo.online, *arguments, **named)

    monkeypatch.setattr(repo.online, method, forgotten_meanwhile)
    if method == "write_vectors":
        orders = np.array([10**6] * 2), np.array([10**15] * 2)
        vectors = np.ones((2, version.dimension), np.float32)
        repo.write_vectors(version, [user, others[0]], vectors, *orders, computed_at=1)
        assert repo.read_vectors(version, [others[0]]).position.tolist() == [10**6]
    else:
        assert repo.publish() >= len(others)
        assert (repo.read_history_ends(others)[0] > 0).all()
        assert np.array_equal(repo.read_vectors(version, others).vectors, before.vectors)
    assert repo.online.views_of(repo.config, user) == []
