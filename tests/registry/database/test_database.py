import pickle
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import func, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import OperationalError as SqlOperationalError

from portrait.infra.migrations import upgrade
from portrait.registry.database import database as database_module
from portrait.registry.database.database import SCHEMA_REVISION, Database
from portrait.registry.database.driver_errors import translate
from portrait.registry.database.tables import ConsumerRow, Instance
from portrait.registry.errors import Conflict, InvalidInput, RegistryBehind, RegistryMissing, Unavailable
from portrait.registry.serving_state.serving_state import read_generation
from tests.databases import copy_file


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{copy_file(migrated_file, tmp_path / 'registry.db')}")
    yield opened
    opened.close()


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    opened = Database(postgres_url)
    yield opened
    opened.close()


def consumer(name: str, owner: str = "team") -> ConsumerRow:
    return ConsumerRow(name=name, owner=owner, task="", created_at=datetime.now(UTC))


def count(database: Database) -> int | None:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(ConsumerRow))


def test_a_transaction_commits_when_its_block_ends_and_rolls_back_when_it_raises(database: Database) -> None:
    with database.transaction() as session:
        session.add(consumer("ads"))
    with pytest.raises(ZeroDivisionError), database.transaction() as session:
        session.add(consumer("search"))
        session.flush()
        raise ZeroDivisionError
    assert count(database) == 1


def test_reading_sees_one_moment_and_waits_for_no_writer(database: Database) -> None:
    with database.reading() as reader:
        statement = select(func.count()).select_from(ConsumerRow)
        assert reader.scalar(statement) == 0
        with database.transaction() as writer:
            writer.add(consumer("ads"))
            writer.flush()
            assert count(database) == 0  # a third one, beside the open write
        assert reader.scalar(statement) == 0
    assert count(database) == 1


def test_reading_never_keeps_a_write(database: Database) -> None:
    try:
        with database.reading() as session:
            session.add(consumer("ads"))
            session.flush()
    except Unavailable as error:
        assert "read-only" in str(error)  # Postgres says so at once
    assert count(database) == 0


def test_a_write_transaction_reads_what_it_then_changes(sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite: the write lock is taken at the beginning, so the second writer waits there and not half-way."""
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
    impatient = Database(str(sqlite.url))
    with sqlite.transaction() as session:
        session.execute(select(Instance.id))
        with pytest.raises(Unavailable, match="locked by another process"), impatient.transaction() as second:
            second.execute(select(Instance.id))
            pytest.fail("two write transactions at once")
    with impatient.transaction() as session:
        session.add(consumer("ads"))
    impatient.close()


def test_sqlite_is_set_up_to_survive_a_power_cut_and_to_check_references(sqlite: Database) -> None:
    with sqlite.reading() as session:
        values = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }
    assert values == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_a_double_is_a_conflict(database: Database) -> None:
    with database.transaction() as session:
        session.add(consumer("ads"))
    with pytest.raises(Conflict, match="contradicts"), database.transaction() as session:
        session.execute(insert(ConsumerRow).values(name="ads", owner="", task="", created_at=datetime.now(UTC)))
    assert count(database) == 1


def test_a_naive_time_is_the_callers_mistake(database: Database) -> None:
    naive = ConsumerRow(name="ads", owner="", task="", created_at=datetime(2011, 6, 10))
    with pytest.raises(InvalidInput, match=r"2011, 6, 10, 0, 0\) has no time zone"), database.transaction() as session:
        session.add(naive)
    assert count(database) == 0


def test_a_mistake_in_our_own_sql_surfaces_as_it_is(database: Database) -> None:
    with pytest.raises(DBAPIError, match="SELEKT"), database.reading() as session:
        session.execute(text("SELEKT 1"))


def test_a_copy_sent_to_another_process_has_the_same_database(database: Database) -> None:
    copy = pickle.loads(pickle.dumps(database))
    assert copy.url == database.url
    assert copy.require_current() == database.require_current()
    copy.close()


def test_plain_postgres_urls_get_the_driver_that_is_installed() -> None:
    assert Database("postgresql://me@db/portrait").url.drivername == "postgresql+psycopg"


def test_passwords_are_not_shown() -> None:
    database = Database("postgresql://me:secret@127.0.0.1:1/portrait")
    with pytest.raises(Unavailable) as raised:
        database.require_current()
    assert "secret" not in str(raised.value)
    assert "postgresql+psycopg://me:***@127.0.0.1:1/portrait does not answer" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_sqlite_file_is_not_created_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "registry.db"
    database = Database(f"sqlite:///{path}")
    for look in (database.require_current, lambda: read_generation(database)):
        with pytest.raises(RegistryMissing, match=rf"no registry at sqlite:///{path}: run `portrait apply` first"):
            look()
    assert not path.parent.exists()


def test_an_empty_or_old_or_newer_registry_is_not_relied_upon(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    if database.is_sqlite:
        Path(str(database.url.database)).touch()
    with pytest.raises(RegistryMissing, match="is empty: run `portrait apply` first"):
        database.require_current()
    upgrade(database)
    assert len(database.require_current()) == 36
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(RegistryBehind, match=f"at revision 0000, this code needs {SCHEMA_REVISION}"):
        database.require_current()
    with database.transaction() as session:
        session.execute(text(f"UPDATE alembic_version SET version_num = '{SCHEMA_REVISION}'"))
        session.execute(text("DELETE FROM instance"))
    with pytest.raises(RegistryMissing, match="no instance id"):
        database.require_current()
    database.close()


def test_a_lost_column_means_a_registry_behind_its_code(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("ALTER TABLE consumers DROP COLUMN task"))
    with pytest.raises(RegistryBehind, match="behind this code: run `portrait apply`"), database.reading() as session:
        session.scalars(select(ConsumerRow)).all()


def test_sqlite_that_cannot_write_says_why(sqlite: Database) -> None:
    with pytest.raises(Unavailable, match="cannot be written: check who owns"), sqlite.transaction() as session:
        session.execute(text("PRAGMA query_only=ON"))
        session.add(consumer("ads"))
    sqlite.close()
    with pytest.raises(Unavailable, match="does not fit on the disk: free some"), sqlite.transaction() as session:
        session.execute(text("PRAGMA max_page_count=1"))
        session.add_all(consumer(f"consumer_{n}", "o" * 128) for n in range(2000))
    assert count(sqlite) == 0


def test_what_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_text("these are my holiday photos, not a database " * 100)
    with pytest.raises(Unavailable, match="is not a SQLite database"):
        Database(f"sqlite:///{path}").require_current()
    with pytest.raises(Unavailable, match="cannot be opened: check that its folder exists"):
        Database(f"sqlite:///{tmp_path}").require_current()


@pytest.mark.parametrize(
    ("code", "said"),
    [("SQLITE_IOERR_WRITE", "met a disk error"), ("SQLITE_CORRUPT_INDEX", "is damaged: restore it")],
)
def test_extended_result_codes_mean_what_their_primary_code_means(code: str, said: str) -> None:
    origin = sqlite3.OperationalError("disk I/O error")
    origin.sqlite_errorname = code
    ours = translate(SqlOperationalError("SELECT 1", {}, origin), "sqlite:///registry.db")
    assert isinstance(ours, Unavailable)
    assert said in str(ours)


def test_postgres_that_does_not_have_the_database_says_so(postgres_url: str) -> None:
    database = Database(make_url(postgres_url).set(database="portrait_not_there").render_as_string(False))
    with pytest.raises(Unavailable, match=r"does not answer: .*\"portrait_not_there\" does not exist"):
        database.require_current()


def test_a_lost_connection_is_unavailable_once_and_then_works(postgres: Database) -> None:
    with pytest.raises(Unavailable, match="does not answer"), postgres.transaction() as session:
        session.add(consumer("ads"))
        session.flush()
        own = session.scalar(text("SELECT pg_backend_pid()"))
        with postgres.transaction() as other:
            other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": own})
    assert count(postgres) == 0


def test_texts_that_postgres_cannot_store_are_the_callers_mistake(postgres: Database) -> None:
    for owner in ("a\x00b", "o" * 129):
        with pytest.raises(InvalidInput, match="cannot store this value"), postgres.transaction() as session:
            session.add(consumer("ads", owner))


def test_a_deadlock_is_a_conflict(postgres: Database) -> None:

    with postgres.transaction() as session:
        session.add_all([consumer("ads"), consumer("search")])
    both = Barrier(2)

    def lock(names: tuple[str, str]) -> bool:
        try:
            with postgres.transaction() as session:
                session.get(ConsumerRow, names[0], with_for_update=True)
                both.wait()
                session.get(ConsumerRow, names[1], with_for_update=True)
        except Conflict as error:
            assert "somebody else go first: try again" in str(error)
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(lock, [("ads", "search"), ("search", "ads")])) == [False, True]


def test_connections_that_open_a_new_file_at_once_all_get_it(tmp_path: Path) -> None:
    """Without waiting in `_use_wal`, about one round in thirty fails with "database is locked"."""

    def open_and_write(path: Path, start: Barrier) -> int:
        database = Database(f"sqlite:///{path}")
        start.wait()
        with database.transaction() as session:
            session.execute(text("CREATE TABLE IF NOT EXISTS t (x INTEGER)"))
        database.close()
        return 1

    with ThreadPoolExecutor(6) as threads:
        for n in range(60):
            path, start = tmp_path / f"{n}.db", Barrier(6)
            path.touch()
            assert sum(threads.map(open_and_write, [path] * 6, [start] * 6)) == 6
