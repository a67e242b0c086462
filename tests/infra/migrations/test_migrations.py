import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

import portrait.feature_repo.log.tables  # noqa: F401 (fills Base.metadata)
from portrait.infra import migrations
from portrait.infra.migrations import upgrade
from portrait.registry.database.database import SCHEMA_REVISION, Database
from portrait.registry.database.tables import Base
from portrait.registry.errors import RegistryBehind, RegistryMissing


@pytest.fixture
def database(empty_database_url: str) -> Iterator[Database]:
    opened = Database(empty_database_url)
    yield opened
    opened.close()


def test_the_code_works_with_the_newest_revision() -> None:
    assert migrations.head() == SCHEMA_REVISION


def test_an_empty_database_is_brought_up_once(database: Database) -> None:
    assert upgrade(database) is True
    instance = database.require_current()
    assert upgrade(database) is False
    assert database.require_current() == instance


def test_every_registry_has_an_id_of_its_own(database: Database, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path / 'other.db'}")
    upgrade(database)
    upgrade(other)
    assert database.require_current() != other.require_current()
    other.close()


def test_a_lost_instance_row_is_put_back(database: Database) -> None:
    upgrade(database)
    with database.transaction() as session:
        session.execute(text("DELETE FROM instance"))
    assert upgrade(database) is True
    database.require_current()


def test_the_folder_of_the_sqlite_file_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a 100% new' / 'home' / 'registry.db'}")
    assert upgrade(database)
    database.close()


def test_autogenerate_sees_no_difference(database: Database) -> None:
    upgrade(database)
    with database.connecting() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_build_what_the_tables_say(database: Database) -> None:
    """Primary keys, checks and column order too, which autogenerate does not compare."""
    upgrade(database)
    with database.connecting() as connection:
        migrated = _reflected(connection)
    with database.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
        assert migrated == _reflected(connection)
    assert set(migrated) >= {"instance", "embedding_versions", "assignments", "promotions", "buckets", "segments"}


def test_the_first_revision_can_be_taken_back(database: Database) -> None:
    upgrade(database)
    options = migrations.config()
    with database.engine.begin() as connection:
        options.attributes["connection"] = connection
        command.downgrade(options, "base")
    with database.connecting() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
    assert upgrade(database) is True


def test_an_upgrade_that_dies_leaves_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_connection: Connection) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(migrations, "_identify", die)
        upgrade(database)
    with database.connecting() as connection:
        assert inspect(connection).get_table_names() == []
    with pytest.raises(RegistryMissing, match="is empty"):
        database.require_current()
    assert upgrade(database) is True


def test_a_registry_of_newer_code_is_left_alone(database: Database) -> None:
    upgrade(database)
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(RegistryBehind, match="at revision 9999, which this code does not know: use the newest code"):
        upgrade(database)
    with database.reading() as session:
        assert session.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_processes_that_upgrade_at_once_agree(empty_database_url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=spawn) as processes:
        answers = list(processes.map(_upgrade, [empty_database_url] * 8))
    assert sum(changed for changed, _ in answers) == 1
    assert len({instance for _, instance in answers}) == 1


def test_sqlite_checks_references_again_after_an_upgrade(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'registry.db'}")
    upgrade(database)
    with database.reading() as session:
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
    database.close()


def _upgrade(url: str) -> tuple[bool, str]:
    database = Database(url)
    answer = upgrade(database), database.require_current()
    database.close()
    return answer


def _reflected(connection: Connection) -> dict[str, Any]:
    """Everything about our tables that the database itself knows; types by their name in SQL."""
    look = inspect(connection)
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"], column["default"])
                for column in look.get_columns(table)
            ],
            "primary key": look.get_pk_constraint(table)["constrained_columns"],
            "references": sorted(
                (key["constrained_columns"], key["referred_table"], key["referred_columns"])
                for key in look.get_foreign_keys(table)
            ),
            "unique": sorted(unique["column_names"] for unique in look.get_unique_constraints(table)),
            "indexes": sorted(
                (index["name"], index["column_names"], index["unique"]) for index in look.get_indexes(table)
            ),
            "checks": sorted((check["name"], check["sqltext"]) for check in look.get_check_constraints(table)),
        }
        for table in sorted(Base.metadata.tables)
    }
