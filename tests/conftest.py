"""Fixtures that more than one floor uses."""

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

import hypothesis
import pytest
from filelock import FileLock
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError

if TYPE_CHECKING:  # tests of the lower floors need not wait for Feast and torch
    from portrait.infra.portrait import Portrait
    from tests.databases import EmptiedPostgres

hypothesis.settings.register_profile("portrait", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("portrait")

MadeOnce: TypeAlias = Callable[[str, Callable[[Path], object]], Path]

# Two workers on two cores: more threads of torch and BLAS would only wait for each other (a baseline of embeddings took
# 83 s instead of 22). Before anything imports them; processes and Ray workers that tests start have it from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Hundreds of processes import the same modules: each would compile all of ours again where this variable is set. What
# they keep lies in __pycache__, which git ignores.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Homes, databases and Redis files of tests lie in memory where there is room: their thousands of fsyncs took as long as
# the tests' own work. Set PYTEST_DEBUG_TEMPROOT to look at them on a disk.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

LONGEST = """
    torture/test_torture benchmarks/test_bench test_end_to_end infra/cli/test_study infra/cli/test_cli
    training/runs/test_ray_train infra/cli/test_gur infra/cli/test_promotions serving/test_running
    training/evaluation/suites/clue/test_suite training/pinned/test_make training/backfill/test_backfill
    feature_repo/store/test_reconcile_process feature_repo/declaration/test_apply infra/cli/test_datasets
    examples/test_loyalty compatibility/test_former_home
"""
"""Files that take long, the longest first: begun last, one would keep a worker busy while the other has ended."""

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
if not urlsplit(REDIS_URL).path.strip("/"):
    # The tests empty their database: never the one that everybody uses, and each of pytest's workers has its own.
    REDIS_URL = f"{REDIS_URL.rstrip('/')}/{9 + int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])}"
POSTGRES_URL = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first, all others in their order; those that want `ray_session` last, as Ray idles at some cost."""

    def file(item: pytest.Item) -> str:
        return item.nodeid.split("::")[0]

    with_ray = {file(item) for item in items if "ray_session" in getattr(item, "fixturenames", ())}
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST.split())}
    items.sort(key=lambda item: (file(item) in with_ray, places.get(file(item), len(places))))


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


@contextmanager
def fresh_postgres() -> Iterator[str]:
    """The URL of a new Postgres database, dropped after the block."""
    url = make_url(POSTGRES_URL).set(drivername="postgresql+psycopg")
    name = f"portrait_{uuid.uuid4().hex[:12]}"
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
            connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))  # no test kills the server
    except OperationalError:
        unavailable(f"Postgres at {POSTGRES_URL}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def empty_postgres_url() -> Iterator[str]:
    """A fresh Postgres database without any table, dropped after the test."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture
def second_postgres_url() -> Iterator[str]:
    """Another one, for Feast's registry."""
    with fresh_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def emptied_postgres() -> "Iterator[EmptiedPostgres]":
    """The migrated Postgres database of this worker, for `postgres_url`."""
    from tests.databases import EmptiedPostgres

    with fresh_postgres() as url:
        yield EmptiedPostgres(url)


@pytest.fixture
def postgres_url(emptied_postgres: "EmptiedPostgres") -> str:
    """A migrated Postgres database without rows."""
    emptied_postgres.empty()
    return emptied_postgres.url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated database without rows on each supported server."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    from tests.databases import copy_file

    return f"sqlite:///{copy_file(request.getfixturevalue('migrated_file'), tmp_path / 'registry.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table on each supported server."""
    if request.param == "postgres":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path / 'registry.db'}"


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> "MadeOnce":
    """`made_once(name, make)`: the folder that `make(folder)` fills, the same for all of pytest's workers."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.made"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def migrated_file(made_once: "MadeOnce") -> Path:
    """A SQLite registry with all tables and no rows. Copy it, change nothing in it."""
    from tests.databases import migrate

    return made_once("migrated", lambda folder: migrate(f"sqlite:///{folder / 'registry.db'}")) / "registry.db"


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


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One Ray for all tests that need it: starting it takes seconds."""
    import ray

    from portrait.feature_repo.ray_cluster import ensure_ray
    from portrait.training.settings import TrainingSettings

    ensure_ray(TrainingSettings(ray_address=""))
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def registered_home(made_once: "MadeOnce") -> Path:
    """A home with 300 generated users and a trained version without vectors. Copy it, change nothing in it."""
    from tests.instances import make_registered

    return made_once("registered", lambda folder: make_registered(folder / "home", folder / "generated")) / "home"


@pytest.fixture(scope="session")
def backfilled_home(registered_home: Path, made_once: "MadeOnce") -> Path:
    """The same with all users embedded at autoencoder-1. Copy it, change nothing in it."""
    return made_once("backfilled", partial(_embed_all, registered_home, "autoencoder-1")) / "home"


@pytest.fixture(scope="session")
def registered_clue_home(registered_home: Path, made_once: "MadeOnce") -> Path:
    """The users of `registered_home` with a version of the other family: clue-1. Copy it, change nothing in it."""
    from portrait.infra.jobs.versions import train_version
    from tests.instances import TINY_CLUE, copy_of

    def make(folder: Path) -> None:
        with copy_of(registered_home, folder / "home") as portrait:
            train_version(portrait, "clue", overrides=TINY_CLUE)

    return made_once("registered-clue", make) / "home"


@pytest.fixture(scope="session")
def backfilled_clue_home(registered_clue_home: Path, made_once: "MadeOnce") -> Path:
    """The same with all users embedded at clue-1, and at it alone. Copy it, change nothing in it."""
    return made_once("backfilled-clue", partial(_embed_all, registered_clue_home, "clue-1")) / "home"


def _embed_all(template: Path, version: str, folder: Path) -> None:
    from portrait.training.backfill.backfill import backfill
    from tests.instances import copy_of

    with copy_of(template, folder / "home") as portrait:
        backfill(portrait.repo, version, portrait.settings)


@pytest.fixture
def registered(registered_home: Path, tmp_path: Path) -> "Iterator[Portrait]":
    """An instance of one's own with a trained version that has no vectors yet."""
    from tests.instances import copy_of

    with copy_of(registered_home, tmp_path / "home") as portrait:
        yield portrait


@pytest.fixture
def backfilled(backfilled_home: Path, tmp_path: Path) -> "Iterator[Portrait]":
    """An instance of one's own in which all users are embedded at autoencoder-1."""
    from tests.instances import copy_of

    with copy_of(backfilled_home, tmp_path / "home") as portrait:
        yield portrait


@pytest.fixture(params=["autoencoder-1", "clue-1"])
def version_id(request: pytest.FixtureRequest) -> str:
    """A version of each family."""
    return str(request.param)


@pytest.fixture
def either_registered(version_id: str, request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Portrait]":
    """An instance of one's own in which `version_id` has no vectors yet."""
    from tests.instances import copy_of

    homes = {"autoencoder-1": "registered_home", "clue-1": "registered_clue_home"}
    with copy_of(request.getfixturevalue(homes[version_id]), tmp_path / "home") as portrait:
        yield portrait


@pytest.fixture
def either_backfilled(version_id: str, request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[Portrait]":
    """An instance of one's own in which all users are embedded at `version_id`."""
    from tests.instances import copy_of

    homes = {"autoencoder-1": "backfilled_home", "clue-1": "backfilled_clue_home"}
    with copy_of(request.getfixturevalue(homes[version_id]), tmp_path / "home") as portrait:
        yield portrait
