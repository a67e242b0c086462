"""Forgetting of a user who is in every place: nothing of that user is left, and nobody else has changed."""

import logging
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from portrait.feature_repo.history.snapshot_cut import cut_snapshot, load_snapshot
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.committed import rows_of
from portrait.feature_repo.log.inbox import InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.refresh_requests import ask
from portrait.feature_repo.log.tables import InboxRow, RefreshRequestRow
from portrait.feature_repo.online.codec import user_keys
from portrait.feature_repo.store.measured_instance import measured_projects
from portrait.infra.portrait import Portrait
from portrait.registry.errors import Conflict, InvalidInput, NotFound
from portrait.training.backfill.backfill import backfill
from tests.feature_repo.forgetting.conftest import VERSIONS, arrive, event_of, events_file, spread, with_everything
from tests.feature_repo.forgetting.traces import traces
from tests.training.stored import Stored, offline, online, users_of


def without(stored: Stored, user: str, width: int) -> Stored:
    at = stored.users.index(user)
    rows = [stored.vectors[start : start + width] for start in range(0, len(stored.vectors), width)]
    lists = (rows, stored.users, stored.position, stored.as_of)
    vectors, users, position, as_of = ([*one[:at], *one[at + 1 :]] for one in lists)
    return Stored(users, b"".join(vectors), position, as_of)


def leave_measured(portrait: Portrait, user: str) -> int:
    """Have killed measurements leave the user's history on the server; returns how many did."""
    repo, projects = portrait.repo, measured_projects(portrait.repo.config, portrait.repo.online)
    features = [feature.name for feature in repo.feast.get_feature_view("user_history").features]
    rows = repo.online.read_rows(repo.config, "user_history", user_keys([user]), features)
    for config in projects:
        assert repo.online.write_rows(config, "user_history", [row for row in rows if row is not None]) == 1
    return len(projects)


@pytest.mark.slow
def test_nothing_is_left_of_a_forgotten_user(
    peopled: Portrait, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    everybody = users_of(peopled)
    # Of one bucket: a segment of the user alone would be gone, and the log another one.
    user, other = next(pair for pair in pairwise(with_everything(peopled)) if len(set(map(bucket_of, pair))) == 1)
    spread(peopled, user, other, tmp_path)
    before = cut_snapshot(peopled.log)
    vectors = {version: online(peopled, version) for version in VERSIONS}
    inputs = peopled.repo.read_inputs([one for one in everybody if one != user])
    positions = positions_of(peopled)
    arrive(peopled, user)
    left_by_measurements = leave_measured(peopled, user)
    assert len(traces(peopled, user)) > 10
    caplog.clear()

    report = peopled.operations.forget("ann", user)
    assert traces(peopled, user) == []
    assert user not in caplog.text and user not in repr(report)
    events, profiles = report.found.pop("events"), report.found.pop("profiles")
    assert (events > 0, profiles) == (True, 1)
    assert report.found == {
        "inbox and refresh requests": 3,
        "files of killed processes": 2,
        "rejects": 3,
        "labels": 1,
        "snapshots": 2 * len(list((peopled.settings.home / "snapshots").glob("*.json"))) + 1,
        "vectors at rest": 2 + len(peopled.registry.backfills.list(VERSIONS[0])) - 1,
        "online views": 4 + left_by_measurements,
    }
    assert [(one.id, one.state) for one in report.trained] == [(version, "ready") for version in VERSIONS]
    assert report.not_purged == () and report.under_way == 0

    others = [one for one in everybody if one != user]
    assert users_of(peopled) == others
    assert peopled.repo.read_inputs(others).equals(inputs)
    after = cut_snapshot(peopled.log)
    assert after == load_snapshot(peopled.settings.home, before.id)
    assert (after.id, after.users, sum(after.buckets.values())) == (before.id, len(others), len(others))
    for version in VERSIONS:
        expected = without(vectors[version], user, 16 * 4)
        assert online(peopled, version) == offline(peopled, before.id, version) == expected
        again = backfill(peopled.repo, version, peopled.settings)
        assert (again.snapshot, again.users, again.written_online) == (before.id, len(others), 0)
    assert positions_of(peopled) == {row for row in positions if row[0] != user}
    assert len(pq.read_table(peopled.settings.home / "labels" / "set.parquet")) == 1
    [rejects] = (peopled.settings.home / "rejects").iterdir()
    assert pq.read_table(rejects).column("user_id").to_pylist() == [other]


def positions_of(portrait: Portrait) -> set[tuple[str, str, int]]:
    """User, event and position of every event of the log."""
    segments = portrait.log.manifest().segments_of(SegmentKind.EVENTS)
    rows = rows_of(portrait.log.home, segments, {"user_id": "VARCHAR", "event_id": "VARCHAR"})
    with portrait.log.duck() as duck:
        return set(duck.execute(f"SELECT user_id, event_id, position FROM {rows}").fetchall())


def test_nothing_is_taken_in_until_it_is_lifted(backfilled: Portrait, tmp_path: Path) -> None:
    user, other = backfilled.log.user_ids(5)[0], backfilled.log.user_ids(6)[0]
    backfilled.operations.forget("ann", user)
    assert backfilled.log.inbox.accept([event_of(user, "e1"), event_of(other, "e2")]) == [
        InboxOutcome.FORGOTTEN,
        InboxOutcome.ACCEPTED,
    ]
    rejected = ingest(backfilled.log, events_file(tmp_path / "e.parquet", user, other)).events
    assert (rejected.accepted, rejected.rejected) == (1, {"the user was forgotten": 1})
    [row] = pq.read_table(rejected.rejects).to_pylist()
    assert row == {"row": 1, "reason": "the user was forgotten", "line": None} | dict.fromkeys(
        ("user_id", "item_id", "event_time")
    )
    profiles = f"user_id,country\n{user},PT\n{other},PT\nbroken,{user},x\n"
    (tmp_path / "u.csv").write_text(profiles)
    rejected = ingest(backfilled.log, users=tmp_path / "u.csv").users
    assert (rejected.accepted, rejected.rejected) == (1, {"the user was forgotten": 2})
    assert traces(backfilled, user) == []

    subject = backfilled.operations.lift("ann", user)
    assert ingest(backfilled.log, events_file(tmp_path / "e.parquet", user)).events.accepted == 1
    assert backfilled.log.inbox.accept([event_of(user, "e1")]) == [InboxOutcome.ACCEPTED]
    done = [(one.actor, one.action, one.subject) for one in backfilled.registry.audit.newest(2)]
    assert done == [("ann", "user.forget", subject), ("ann", "user.lift", subject)]
    with pytest.raises(NotFound, match="not forgotten"):
        backfilled.operations.lift("ann", user)


def test_what_waits_of_others_stays(backfilled: Portrait) -> None:
    user, other = backfilled.log.user_ids(5)[:2]
    arrive(backfilled, user, other)
    assert backfilled.operations.forget("ann", user).found["inbox and refresh requests"] == 3
    ask(backfilled.log, [user])
    with backfilled.database.reading() as session:
        assert set(session.scalars(select(InboxRow.user_id))) == {other}
        assert session.scalars(select(RefreshRequestRow.user_id)).all() == [other]


def test_of_an_unknown_user_nothing_is_found_and_the_tombstone_stands(backfilled: Portrait) -> None:
    report = backfilled.operations.forget("ann", "nobody/at all")
    assert report.total == 0 and report.trained == ()
    assert backfilled.log.inbox.accept([event_of("nobody/at all", "e")]) == [InboxOutcome.FORGOTTEN]
    with pytest.raises(InvalidInput, match="blank"):
        backfilled.operations.forget("ann", " ")


def test_who_forgets_again_gets_the_same_answer(backfilled: Portrait) -> None:
    user = backfilled.log.user_ids(5)[0]
    first = backfilled.operations.forget("ann", user)
    assert first.found["events"] > 0
    assert backfilled.operations.forget("bob", user) == first
    assert [one.action for one in backfilled.registry.audit.newest(2)].count("user.forget") == 1


def test_versions_whose_snapshot_is_gone_are_judged_by_the_log(backfilled: Portrait) -> None:
    users = [backfilled.log.user_ids(bucket)[0] for bucket in (5, 6)]
    (version,) = backfilled.registry.versions.list()
    (backfilled.settings.home / "snapshots" / f"{version.snapshot}.json").unlink()
    assert [one.id for one in backfilled.operations.forget("ann", users[0]).trained] == ["autoencoder-1"]
    backfilled.log.inbox.accept([event_of("newcomer", "e")])  # of 2023, before the version's data ends
    assert [one.id for one in backfilled.operations.forget("ann", "newcomer").trained] == ["autoencoder-1"]
    assert backfilled.operations.forget("ann", "nobody").trained == ()


def test_refresh_shards_must_have_followed_first(backfilled: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portrait.serving.operations.operations.REPLICAS_SECONDS", 0.3)
    replicas, user = backfilled.registry.replicas, backfilled.log.user_ids(5)[0]
    replicas.seen("s1", "host-1", 0, role="shard")
    replicas.seen("g1", "host-2", 0)  # a gateway writes nothing of users
    with pytest.raises(Conflict, match=r"do not know that yet: shard s1 on host-1\. Nothing is deleted") as refused:
        backfilled.operations.forget("ann", user)
    assert user not in str(refused.value)
    assert user in backfilled.log.user_ids(5)
    assert backfilled.log.inbox.accept([event_of(user, "e")]) == [InboxOutcome.FORGOTTEN]
    with pytest.raises(Conflict, match="still being forgotten"):
        backfilled.operations.lift("ann", user)
    replicas.seen("s1", "host-1", 10**6, role="shard")
    assert backfilled.operations.forget("ann", user).found["events"] > 0
    assert user not in backfilled.log.user_ids(5)
