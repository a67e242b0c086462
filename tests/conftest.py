"""Fixtures that more than one floor uses."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/9")
POSTGRES_URL = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


def unavailable(what: str) -> None:
    """Skip visibly on a person's machine, fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} does not answer, and CI=true asks for it")
    pytest.skip(f"{what} does not answer")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh PORTRAIT_HOME."""
    path = tmp_path / "home"
    monkeypatch.setenv("PORTRAIT_HOME", str(path))
    return path


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """A fresh Postgres database, dropped after the test."""
    url = make_url(POSTGRES_URL).set(drivername="postgresql+psycopg")
    name = f"portrait_{uuid.uuid4().hex[:12]}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError:
        unavailable(f"Postgres at {POSTGRES_URL}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh, empty database on each supported server."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'registry.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An emptied Redis database."""
    import redis

    client = redis.Redis.from_url(REDIS_URL)
    try:
        client.flushdb()
    except redis.ConnectionError:
        unavailable(f"Redis at {REDIS_URL}")
    yield REDIS_URL
    client.flushdb()
    client.close()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real data sets, from PORTRAIT_TEST_DATA."""
    folder = os.environ.get("PORTRAIT_TEST_DATA")
    if not folder:
        pytest.skip("PORTRAIT_TEST_DATA is not set: tests on real data are left out")
    return Path(folder).resolve()
