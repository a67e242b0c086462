"""Corrections while a shard works: it is put off for a moment, and its vectors follow at every version."""

import pytest

from portrait.feature_repo.schemas import microseconds
from tests.serving.refresh.followed_instance import (
    BOTH,
    HOUR,
    ITEMS,
    LENGTH,
    START,
    Followed,
    event,
    names,
    profile,
    running,
)
from tests.serving.refresh.test_lost_store import SLOWLY, settled
from tests.serving.state.test_assignment_poller import wait_until


@pytest.fixture(params=["sqlite", "redis"])
def instance(request: pytest.FixtureRequest) -> Followed:
    """An instance with both versions ready."""
    found: Followed = request.getfixturevalue("shared" if request.param == "sqlite" else "on_redis")
    return found


def test_a_running_shard_embeds_the_user_anew_at_every_version(instance: Followed) -> None:
    operations, user = instance.portrait.operations, next(names)
    instance.accept([event(user, ITEMS[n % 6], n * HOUR, f"{user}-{n}") for n in range(LENGTH + 2)])
    with running(instance):
        wait_until(lambda: settled(instance), SLOWLY)
        assert f"{user}-0" not in history(instance, user)
        operations.delete_event("ops", user, f"{user}-3")
        operations.correct_event("ops", user, f"{user}-4", {"item_id": ITEMS[5], "weight": 3.0})
        instance.accept([event(user, ITEMS[0], 100 * HOUR, f"{user}-new")])
        wait_until(lambda: settled(instance), SLOWLY)
    assert history(instance, user) == [f"{user}-{name}" for name in (2, 4, 5, 6, "new")]
    instance.require_the_batch_result(BOTH, [user])


def test_the_vectors_of_before_are_not_read_any_more(instance: Followed) -> None:
    """Also where no shard runs: what is read is computed, from the history without the event."""
    user = next(names)
    instance.accept([event(user, ITEMS[n], n * HOUR, f"{user}-{n}") for n in range(3)])
    instance.drain()
    before = instance.vectors(BOTH[0], [user])
    assert before.found.all()
    instance.leave()
    instance.portrait.operations.delete_event("ops", user, f"{user}-1")
    assert not any(instance.vectors(version, [user]).found.any() for version in BOTH)
    assert history(instance, user) == [f"{user}-0", f"{user}-2"]
    instance.begin(keep_models=False)
    instance.drain()
    instance.require_the_batch_result(BOTH, [user])
    instance.leave()


def test_a_merge_reaches_the_vectors_of_the_user_who_stays(instance: Followed) -> None:
    operations, visitor, user = instance.portrait.operations, next(names), next(names)
    instance.accept([profile(visitor, country="PT"), profile(user, created_time=START)])
    instance.accept([event(visitor, ITEMS[n], 2 * n * HOUR, f"{visitor}-{n}") for n in range(4)])
    instance.accept([event(user, ITEMS[n], (2 * n + 1) * HOUR, f"{user}-{n}") for n in range(3)])
    with running(instance):
        wait_until(lambda: settled(instance), SLOWLY)
        operations.merge("ops", visitor, user)
        instance.accept([event(user, ITEMS[5], 100 * HOUR, f"{user}-new")])
        wait_until(lambda: settled(instance), SLOWLY)
    expected = [f"{visitor}-1", f"{user}-1", f"{visitor}-2", f"{user}-2", f"{visitor}-3", f"{user}-new"]
    assert history(instance, user) == expected[-LENGTH:]
    inputs = instance.portrait.repo.read_inputs([user])
    assert inputs["country"].to_pylist() == ["PT"]
    assert microseconds(inputs["created_time"][0].as_py()) == START
    instance.require_the_batch_result(BOTH, [user])
    assert instance.portrait.repo.online.views_of(instance.portrait.repo.config, visitor) == []


def history(instance: Followed, user: str) -> list[str]:
    found: list[str] = instance.portrait.repo.read_inputs([user])["event_ids"][0].as_py()
    return found
