"""A measured instance: real views in a real store, bytes as the store reports them, and nothing left behind."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import redis

from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.measured_instance import MeasuredInstance, numbers_service, numbers_view, write_numbers

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
USERS = [f"u{number}" for number in range(40)]
NAMES = ["visits_7", "visits_all", "share_shop"]
AS_OF = datetime(2024, 5, 1, tzinfo=UTC)
PROJECT = "own_numbers"


def settings_on(url: str, tmp_path: Path) -> FeatureSettings:
    return FeatureSettings(home=tmp_path / "home", online_store_url=url, feast_registry_url="", registry_url="")


@pytest.fixture(params=["sqlite", "redis"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MeasuredInstance]:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    instance = MeasuredInstance(settings_on(url, tmp_path), tmp_path / "own", PROJECT, USERS)
    yield instance
    instance.remove()


def filled(own: MeasuredInstance, folder: Path) -> np.ndarray:
    numbers = np.random.default_rng(0).random((len(USERS), len(NAMES))).astype(np.float32)
    path = folder / "numbers.parquet"
    write_numbers(path, pa.array(USERS), NAMES, numbers, AS_OF, AS_OF)
    view = numbers_view("visits", path, NAMES, "how often they come")
    own.begin([view], [numbers_service(view)])
    return numbers


def client(own: MeasuredInstance) -> redis.Redis:
    return redis.Redis.from_url(own.config.online_store.connection_string)


def test_what_is_materialised_is_read_and_weighed(own: MeasuredInstance, tmp_path: Path) -> None:
    numbers = filled(own, tmp_path)
    before = own.held()
    own.materialise("visits", AS_OF)
    answer = own.answer(own.service("visits_model"), "u7")
    assert [answer.values[name] for name in NAMES] == pytest.approx(numbers[7].tolist())
    assert answer.nbytes > 100
    held = own.held()
    if own.config.online_store.type == "sqlite":
        assert held == Path(own.config.online_store.path).stat().st_size
    else:
        keys = list(client(own).scan_iter(f"*{PROJECT}"))
        assert len(keys) == len(USERS) and before == 0
        assert held == sum(client(own).memory_usage(key, samples=0) for key in keys)
    assert held - before > len(USERS) * len(NAMES) * 4


def test_begun_again_it_is_empty_and_removed_it_is_gone(own: MeasuredInstance, tmp_path: Path) -> None:
    filled(own, tmp_path)
    before = own.held()
    own.materialise("visits", AS_OF)
    filled(own, tmp_path)
    assert own.held() == before
    own.materialise("visits", AS_OF)
    if own.config.online_store.type != "sqlite":
        client(own).set("another", "key")
    own.remove()
    assert not own.folder.exists()
    if own.config.online_store.type != "sqlite":
        assert client(own).keys() == [b"another"]


def test_begun_again_it_removes_users_whom_a_killed_one_had(redis_url: str, tmp_path: Path) -> None:
    killed = MeasuredInstance(settings_on(redis_url, tmp_path), tmp_path / "own", PROJECT, USERS)
    filled(killed, tmp_path)
    killed.materialise("visits", AS_OF)
    server = client(killed)
    assert len(list(server.scan_iter(f"*{PROJECT}"))) == len(USERS)
    assert killed._lock is not None
    killed._lock.release()  # as the kernel does
    fewer = MeasuredInstance(settings_on(redis_url, tmp_path), tmp_path / "own", PROJECT, USERS[:3])
    fewer.begin([], [])
    assert server.keys() == []
    fewer.remove()
