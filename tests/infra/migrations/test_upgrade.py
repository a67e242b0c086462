"""The upgrade of a registry with rows in every table, from the first revision to the newest."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from portrait.infra import migrations
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from portrait.registry.database.tables import PromotionKind, VersionState
from portrait.registry.errors import RegistryBehind
from portrait.registry.records.gate_settings import GateSettings
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_state

INSTANCE = "5f3c1a52-1111-4222-8333-444455556666"
LONG_AGO = datetime(2011, 6, 10, 12, 30, 0, 123456, tzinfo=UTC)
VERDICT = {"gate": "version-is-ready", "outcome": "accept", "reason": "version autoencoder-1 is ready", "remedy": ""}


@pytest.fixture
def first(empty_database_url: str) -> Iterator[Database]:
    """A registry of the first revision that people have worked with."""
    database = Database(empty_database_url)
    migrations._create_file(database)
    options = migrations.config()
    with database.engine.begin() as connection:
        options.attributes["connection"] = connection
        command.upgrade(options, "0001")
    _fill(database)
    yield database
    database.close()


def test_the_code_asks_for_the_upgrade(first: Database) -> None:
    with pytest.raises(RegistryBehind, match="at revision 0001, this code needs 0004: run `portrait apply`"):
        first.require_current()


def test_nothing_is_lost(first: Database) -> None:
    assert upgrade(first) is True
    assert first.require_current() == INSTANCE
    registry = Registry(first)

    state = read_state(first)
    assert state.generation == 7 and state.keys == {}
    ads = state.assignments["ads"]
    assert (ads.stable, ads.canary, ads.revision, ads.changed_at) == ("autoencoder-2", None, 2, LONG_AGO)
    consumer = state.consumers["ads"]
    assert (consumer.owner, consumer.gates, consumer.wants_head) == ("growth", GateSettings(), False)
    assert {version.id: version.state for version in registry.versions.list()} == {
        "autoencoder-1": VersionState.READY,
        "autoencoder-2": VersionState.READY,
        "autoencoder-3": VersionState.RETIRED,
    }
    assert registry.versions.get("autoencoder-1").feature_schema == {"history_length": 256}
    [one, two] = registry.promotions.history("ads")
    assert (one.kind, one.to_version, one.canary, one.gates[0].forceable) == (
        PromotionKind.PROMOTE,
        "autoencoder-1",
        None,
        True,
    )
    assert two.from_version == "autoencoder-1"
    [measured] = registry.versions.evaluations("autoencoder-1")
    assert (measured.value, measured.data_stamp) == (0.7, None)
    [backfill] = registry.backfills.list("autoencoder-1")
    assert backfill.buckets_done == {0: 3} and backfill.finished
    with first.reading() as session:
        assert session.execute(text("SELECT bucket, next_position, published FROM buckets")).all() == [(5, 12, 9)]
        assert session.scalar(text("SELECT count(*) FROM segments")) == 1


def test_what_is_read_is_pinned_from_then_on(first: Database) -> None:
    upgrade(first)
    for pinned in ("autoencoder-1", "autoencoder-2"):  # one was left yesterday, one is read
        with pytest.raises(IntegrityError), first.engine.begin() as connection:
            connection.execute(
                text("UPDATE embedding_versions SET state = 'retiring', kept = false WHERE id = :id"), {"id": pinned}
            )
    pins = {(pin.version, pin.consumer, pin.why) for pin in Registry(first).retirements.pins()}
    assert pins == {("autoencoder-1", "ads", "rollback"), ("autoencoder-2", "ads", "stable")}


def test_going_back_to_the_first_revision_keeps_its_rows(first: Database) -> None:
    upgrade(first)
    options = migrations.config()
    with first.connecting() as connection, migrations._without_foreign_keys(connection), connection.begin():
        options.attributes["connection"] = connection
        command.downgrade(options, "0001")
    with first.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM promotions")) == 2
        assert session.scalar(text("SELECT stable FROM assignments")) == "autoencoder-2"
    assert upgrade(first) is True


def _fill(database: Database) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    _insert(database, "instance", id=INSTANCE, created_at=LONG_AGO, generation=7)
    for number, state in ((1, "ready"), (2, "ready"), (3, "retired")):
        _insert(
            database,
            "embedding_versions",
            id=f"autoencoder-{number}",
            family="autoencoder",
            number=number,
            fingerprint=f"f{number}",
            dimension=8,
            state=state,
            failure=None,
            run=f"run-{number}",
            artifact=f"artifacts/run-{number}",
            parent=f"autoencoder-{number - 1}" if number > 1 else None,
            snapshot="s",
            data_from=None,
            data_to=LONG_AGO,
            feature_schema={"history_length": 256},
            config={"epochs": 3},
            metrics={"loss": 0.5},
            code_revision="abc",
            created_at=LONG_AGO,
        )
    _insert(
        database,
        "backfills",
        version="autoencoder-1",
        snapshot="s",
        as_of=LONG_AGO,
        buckets_done={"0": 3},
        users_expected=3,
        started_at=LONG_AGO,
        finished_at=LONG_AGO,
    )
    _insert(
        database,
        "evaluations",
        version="autoencoder-1",
        fingerprint="f1",
        task="churn",
        metric="auc",
        value=0.7,
        as_of=LONG_AGO,
        created_at=LONG_AGO,
    )
    _insert(database, "consumers", name="ads", owner="growth", task="click", created_at=LONG_AGO)
    _insert(
        database,
        "assignments",
        consumer="ads",
        stable="autoencoder-2",
        canary=None,
        canary_share=None,
        revision=2,
        changed_at=LONG_AGO,
    )
    for revision, before, after, moment in (
        (1, None, "autoencoder-1", LONG_AGO),
        (2, "autoencoder-1", "autoencoder-2", yesterday),
    ):
        _insert(
            database,
            "promotions",
            consumer="ads",
            revision=revision,
            kind="promote",
            from_version=before,
            to_version=after,
            actor="ada",
            reason="",
            forced=False,
            gates=[VERDICT],
            promoted_at=moment,
        )
    _insert(database, "buckets", bucket=5, next_position=12, published=9)
    _insert(
        database,
        "segments",
        id="seg",
        kind="events",
        bucket=5,
        path="log/seg.parquet",
        rows=12,
        first_position=1,
        oldest=LONG_AGO,
        newest=LONG_AGO,
        committed_at=LONG_AGO,
    )


def _insert(database: Database, table: str, **values: Any) -> None:
    """By SQL: today's classes know columns that were not there."""
    plain = {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in values.items()}
    if database.is_sqlite:  # whose text times SQLAlchemy reads back
        plain = {
            name: value.strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value
            for name, value in plain.items()
        }
    columns = ", ".join(f'"{name}"' for name in plain)
    marks = ", ".join(f":{name}" for name in plain)
    with database.engine.begin() as connection:
        connection.execute(text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"), plain)


def test_an_upgrade_that_would_leave_dangling_references_changes_nothing(first: Database) -> None:
    if not first.is_sqlite:
        with pytest.raises(IntegrityError), first.engine.begin() as connection:  # Postgres never lets it come to that
            connection.execute(text("DELETE FROM consumers"))
        return
    with first.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("DELETE FROM consumers")
        raw.commit()
        raw.execute("PRAGMA foreign_keys=ON")
    with pytest.raises(RuntimeError, match="would leave rows that refer to nothing"):
        upgrade(first)
    with pytest.raises(RegistryBehind, match="at revision 0001"):
        first.require_current()
