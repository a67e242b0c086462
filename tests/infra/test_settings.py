"""Settings: every one has its variable, its row in the documentation, and a complaint that names it."""

import getpass
from pathlib import Path
from typing import Any

import pytest

from portrait.infra.cli.main import complete_environment
from portrait.infra.settings import Settings
from portrait.registry.errors import InvalidInput
from portrait.registry.settings import PROJECT_ROOT

VARIABLES = {f"PORTRAIT_{name.upper()}": name for name in Settings.model_fields}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def another(value: Any, variable: str) -> Any:
    """A valid value that is not this one."""
    if isinstance(value, bool):
        return not value
    if variable == "PORTRAIT_PATH_PREFIX":
        return "/portrait"
    if isinstance(value, int | float):
        return value + 1 if value >= 1 else value + 0.5 if isinstance(value, float) else 4000
    return Path("/somewhere/else") if isinstance(value, Path) else "sqlite:///another"


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_read_from_its_variable(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = VARIABLES[variable]
    before = getattr(Settings(), name)
    wanted = another(before, variable)
    monkeypatch.setenv(variable, str(wanted))
    changed = Settings()
    assert getattr(changed, name) == wanted != before
    assert changed.model_dump(exclude={name}) == Settings().model_dump(exclude={name})


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_documented(variable: str) -> None:
    rows = [line for line in (PROJECT_ROOT / "docs/settings.md").read_text().splitlines() if f"`{variable}` |" in line]
    assert len(rows) == 1
    field = Settings.model_fields[VARIABLES[variable]]
    assert field.description is not None and field.description in rows[0]
    if isinstance(field.default, bool | int | float) or (isinstance(field.default, str) and field.default):
        assert f"| `{field.default}` |" in rows[0]


def test_the_home_is_absolute_from_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORTRAIT_HOME", "here")
    settings = Settings()
    monkeypatch.chdir("/")
    assert settings.home == tmp_path / "here"
    monkeypatch.delenv("PORTRAIT_HOME")
    assert Settings().home == PROJECT_ROOT / ".portrait"


def test_the_registry_lies_in_the_home_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTRAIT_HOME", str(tmp_path))
    assert Settings().database_url == f"sqlite:///{tmp_path}/registry.db"
    monkeypatch.setenv("PORTRAIT_REGISTRY_URL", "postgresql://ann@db/portrait")
    assert Settings().database_url == "postgresql+psycopg://ann@db/portrait"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("PORTRAIT_PORT", "http", "PORTRAIT_PORT=http: input should be a valid integer"),
        ("PORTRAIT_PORT", "70000", "PORTRAIT_PORT=70000: input should be less than or equal to 65535"),
        ("PORTRAIT_POLL_SECONDS", "2", "PORTRAIT_POLL_SECONDS=2: input should be less than or equal to 1"),
        ("PORTRAIT_USE_GPU", "maybe", "PORTRAIT_USE_GPU=maybe: input should be a valid boolean"),
        ("PORTRAIT_ONLINE_STORE_URL", "redis:6379", "PORTRAIT_ONLINE_STORE_URL=redis:6379: write a URL such as "),
        ("PORTRAIT_HISTORY_LENGTH", "0", "PORTRAIT_HISTORY_LENGTH=0: input should be greater than 0"),
    ],
)
def test_a_bad_value_is_named_with_its_variable(
    variable: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidInput, match=f"^{complaint}"):
        Settings()


@pytest.mark.parametrize("variable", ["PORTRAIT_REGISTRY_URL", "PORTRAIT_FEAST_REGISTRY_URL"])
@pytest.mark.parametrize(
    "url", ["mysql://ann:secret@db/x", "postgres://ann:secret@db/x", "postgresql+psycopg2://db/x", "redis://db:6379/0"]
)
def test_another_kind_of_database_is_told_without_its_password(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, url)
    shown = url.replace("secret", "***")
    with pytest.raises(InvalidInput) as refused:
        Settings()
    wanted = "Portrait runs on SQLite and Postgres: write postgresql://user@host/database"
    assert str(refused.value).lower() == f"{variable}={shown}: {wanted}".lower()


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_123)  # as OpenShift chooses them
    assert Settings().actor == "uid-4000000123"


def test_commands_have_a_home_and_a_name_for_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "")  # so that it is put back whatever the code sets
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PORTRAIT_HOME", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 4_000_000_123)
    complete_environment()
    assert (Path.home(), getpass.getuser()) == (tmp_path, "uid-4000000123")


def test_two_bad_values_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTRAIT_PORT", "http")
    monkeypatch.setenv("PORTRAIT_REPLICAS", "-1")
    with pytest.raises(InvalidInput, match=r"PORTRAIT_PORT=http: .*; PORTRAIT_REPLICAS=-1: "):
        Settings()
