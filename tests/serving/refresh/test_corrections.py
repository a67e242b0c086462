"""Corrections while a shard works: it is put off for a moment, and its vectors follow at every version."""

import pytest

from tests.serving.refresh.followed_instance import BOTH, HOUR, ITEMS, LENGTH, Followed, event, names, running
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


def history(instance: Followed, user: str) -> list[str]:
    found: list[str] = instance.portrait.repo.read_inputs([user])["event_ids"][0].as_py()
    return found
