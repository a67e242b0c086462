"""A dropped column: its values are nowhere, no record may name it, and what comes back under its name is new."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.history.snapshot_cut import cut_snapshot, snapshots
from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.log.inbox import ArrivingRecord, InboxOutcome
from portrait.feature_repo.log.manifest import SegmentKind
from portrait.feature_repo.log.partition import bucket_of
from portrait.feature_repo.log.profiles import further_columns
from portrait.feature_repo.store import column_drop
from portrait.feature_repo.store.column_drop import drop_column
from portrait.infra.jobs.versions import train_version
from portrait.infra.portrait import Portrait
from portrait.registry.errors import Conflict, InvalidInput
from portrait.training.backfill.backfill import backfill
from tests.feature_repo.forgetting.conftest import FEWER
from tests.instances import TINY, copy_of, embedded, with_generated_users
from tests.training.stored import users_of

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(params=["embedded", "servers"])
def aged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Portrait]:
    """An instance whose users have a `country`, which autoencoder-1 reads, and an `age`, which it does not."""
    if request.param == "embedded":
        opened = copy_of(request.getfixturevalue("registered_home"), tmp_path / "home")
    else:
        postgres = request.getfixturevalue("postgres_url")
        stores = {"registry_url": postgres, "feast_registry_url": postgres}
        settings = embedded(tmp_path / "home", **stores, online_store_url=request.getfixturevalue("redis_url"))
        opened = with_generated_users(settings, tmp_path / "generated", FEWER)
        train_version(opened, "autoencoder", overrides=TINY)
    with opened as portrait:
        bring(portrait, tmp_path, "age", ["17", "?"] * (len(users_of(portrait)) // 2))
        yield portrait


def bring(portrait: Portrait, folder: Path, column: str, values: list[object]) -> None:
    users = users_of(portrait)[: len(values)]
    pq.write_table(pa.table({"user_id": users, column: values}), folder / "more.parquet")
    assert ingest(portrait.log, users=folder / "more.parquet").users.accepted == len(users)
    portrait.repo.apply()
    portrait.repo.publish()


def online(portrait: Portrait, column: str) -> list[object]:
    return portrait.repo.read_inputs(users_of(portrait)).column(column).to_pylist()


def columns(portrait: Portrait) -> dict[str, str]:
    return further_columns(portrait.log.home, portrait.log.manifest().segments_of(SegmentKind.USERS))


def test_a_dropped_column_is_nowhere_and_comes_back_as_another(aged: Portrait, tmp_path: Path) -> None:
    users = users_of(aged)
    before, old = aged.repo.read_inputs(users), cut_snapshot(aged.log)
    assert columns(aged)["age"] == "VARCHAR" and set(online(aged, "age")) >= {"17", "?"}
    first = backfill(aged.repo, "autoencoder-1", aged.settings)
    waiting = ArrivingRecord(SegmentKind.USERS, bucket_of(users[0]), f'{{"user_id":"{users[0]}","age":"18"}}', users[0])
    assert aged.log.inbox.accept([waiting]) == [InboxOutcome.ACCEPTED]

    holding = sum("age" in one.profile_schema.names for one in snapshots(aged.log.home))
    dropped = drop_column(aged.repo, aged.registry.acting("ann"), "users.age", "of no use")
    assert (dropped.column, dropped.segments > 0, dropped.snapshots) == ("users.age", True, holding)
    assert "age" not in columns(aged) and "country" in columns(aged)
    assert "age" not in old.profile_schema.names
    after = aged.repo.read_inputs(users)
    assert "age" not in after.column_names
    rest = [name for name in after.column_names if name not in ("position", "as_of", "computed_at")]
    assert after.select(rest).equals(before.select(rest))
    event = aged.registry.audit.list()[-1]
    assert (event.actor, event.action, event.subject, event.detail) == (
        "ann", "column.drop", "column users.age", {"reason": "of no use"},
    )  # fmt: skip
    fresh = cut_snapshot(aged.log)
    assert fresh.id != old.id and fresh.users == old.users and "age" not in fresh.profile_schema.names
    again = backfill(aged.repo, "autoencoder-1", aged.settings)
    assert again.users == first.users  # the version that never read it goes on

    bring(aged, tmp_path, "age", [30, 31])
    assert columns(aged)["age"] == "BIGINT"
    assert online(aged, "age") == [30, 31] + [None] * (len(users) - 2)


def test_what_a_version_reads_and_what_there_is_not_stays(aged: Portrait) -> None:
    ann = aged.registry.acting("ann")
    with pytest.raises(Conflict, match=r"users\.country is read by autoencoder-1: train .*--exclude country.*retire"):
        drop_column(aged.repo, ann, "users.country")
    assert aged.registry.audit.list()[-1].outcome == "refused"
    for column, why in {
        "users.shoes": r"'users\.shoes' is no column that can be dropped; there are: users\.age, .*users\.country",
        "age": "'age' is no column that can be dropped",
        "items.text": "is no column that can be dropped",
        "users.created_time": "a column of every users table",
        "events.weight": "events have the columns user_id, item_id",
    }.items():
        with pytest.raises(InvalidInput, match=why):
            drop_column(aged.repo, ann, column)
    assert {"age", "country"} <= columns(aged).keys()


def test_killed_anywhere_it_is_finished_by_the_next_call(aged: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    swap, calls = column_drop.commit_edit, 0

    def die_later(*given: object) -> bool:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        return swap(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(column_drop, "commit_edit", die_later)
    with pytest.raises(KeyboardInterrupt):
        drop_column(aged.repo, aged.registry, "users.age")
    assert "age" in columns(aged)
    monkeypatch.setattr(column_drop, "commit_edit", swap)
    drop_column(aged.repo, aged.registry, "users.age")
    assert "age" not in columns(aged)
    assert cut_snapshot(aged.log).users == len(users_of(aged))
