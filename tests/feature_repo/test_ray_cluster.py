"""A local Ray is for its process alone, and may take its time to start. (That it listens on loopback only, and asks for
the token, is tested where one runs: tests/serving/test_running.py.)"""

import os

import pytest

from portrait.feature_repo import ray_cluster
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import Unavailable

NICENESS = "RAY_worker_niceness"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(variable)
    kept = dict(os.environ)
    monkeypatch.setattr(os, "environ", kept)


def test_each_process_makes_a_token_unless_one_is_given() -> None:
    ray_cluster._keep_to_this_process()
    made = os.environ.pop("RAY_AUTH_TOKEN")
    ray_cluster._keep_to_this_process()
    assert len(made) == 64 and os.environ["RAY_AUTH_TOKEN"] != made
    assert os.environ[NICENESS] == "0"


@pytest.mark.parametrize("given", [{"RAY_AUTH_TOKEN_PATH": "/secrets/ray"}, {"RAY_AUTH_MODE": "disabled"}])
def test_what_a_person_has_set_stays(given: dict[str, str]) -> None:
    os.environ.update(given | {NICENESS: "5"})
    ray_cluster._keep_to_this_process()
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert {name: os.environ[name] for name in given} == given and os.environ[NICENESS] == "5"


def test_a_ray_that_does_not_start_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import services

    asked = []

    def not_there(*_: object) -> None:
        asked.append(1)
        raise RuntimeError("no such node")

    def start(**_: object) -> None:
        try:
            services.get_node("address", "node")
        except RuntimeError:
            raise Exception("The current node timed out during startup.\nMore lines.") from None

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    monkeypatch.setattr(services, "get_node", not_there)
    monkeypatch.setattr(ray_cluster, "START_SECONDS", 0.5)
    with pytest.raises(Unavailable) as refused:
        ray_cluster.ensure_ray(FeatureSettings(ray_address=""))
    assert len(asked) >= 3, "it is asked again until the time is over"
    assert "timed out during startup" in str(refused.value) and "PORTRAIT_NUM_WORKERS=0" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert services.get_node is not_there
