"""The first state of a gateway, and the check of who may call it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from portrait.infra.migrations import upgrade
from portrait.registry.database.database import Database
from portrait.registry.errors import Conflict, RegistryBehind, RegistryMissing
from portrait.registry.records.grants import Grant
from portrait.registry.records.records import ApiKey
from portrait.registry.registry import Registry
from portrait.serving.http.access import require_safe
from portrait.serving.settings import ServingSettings
from portrait.serving.state.first_state import first_state, state_file_of

KEY = ApiKey("1a2b3c4d", "web", "0" * 64, (Grant.parse("administer"),), datetime(2026, 1, 1, tzinfo=UTC), "ann")


@pytest.fixture
def settings(tmp_path: Path) -> ServingSettings:
    """Settings of a home whose registry has one consumer."""
    made = ServingSettings(home=tmp_path / "home", registry_url="", host="127.0.0.1", production=False)
    made.home.mkdir()
    database = Database(made.database_url)
    upgrade(database)
    Registry(database).consumers.add("ranker", "web")
    database.close()
    return made


def test_the_registry_has_the_first_word(settings: ServingSettings) -> None:
    state, warning = first_state(settings)
    assert set(state.consumers) == {"ranker"} and warning == ""


def test_what_is_kept_on_disk_serves_while_the_registry_is_away(settings: ServingSettings) -> None:
    state, _ = first_state(settings)
    database = Database(settings.database_url)
    state_file_of(settings, database).save(state)
    file = settings.home / "registry.db"
    file.rename(file.with_suffix(".away"))
    again, warning = first_state(settings)
    assert again == state
    assert "serving starts with the assignments of 0 s ago" in warning and "there is no registry" in warning
    state_file_of(settings, database).path.unlink()
    with pytest.raises(RegistryMissing, match="portrait apply"):
        first_state(settings)
    database.close()


def test_a_registry_behind_the_code_is_said_though_something_is_kept(settings: ServingSettings) -> None:
    state, _ = first_state(settings)
    database = Database(settings.database_url)
    state_file_of(settings, database).save(state)
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()
    with pytest.raises(RegistryBehind, match="run `portrait apply`"):
        first_state(settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_without_keys_only_this_machine_is_answered(settings: ServingSettings, host: str) -> None:
    told = require_safe(settings.model_copy(update={"host": host}), [])
    assert told.startswith("no API keys: only this machine is answered") and "portrait keys add" in told


@pytest.mark.parametrize("changes", [{"host": "0.0.0.0"}, {"host": "::"}, {"host": "web-1"}, {"production": True}])
def test_without_keys_nothing_else_starts(settings: ServingSettings, changes: dict[str, object]) -> None:
    changed = settings.model_copy(update=changes)
    with pytest.raises(Conflict, match=r"no API keys.*portrait keys add"):
        require_safe(changed, [])
    assert require_safe(changed, [KEY]) == "API keys are required (1 usable)"
    revoked = replace(KEY, revoked_at=KEY.created_at)
    assert require_safe(changed, [revoked]).startswith("every API key is revoked")
