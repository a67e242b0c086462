"""Shards as named actors of a real Ray: they share the buckets, and one that is killed is replaced."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
import ray
from sqlalchemy import select

from portrait.feature_repo.log.partition import BUCKETS
from portrait.feature_repo.log.tables import LeaseRow
from portrait.registry.rows import database_now
from portrait.serving.refresh.actors import NAMESPACE, ShardGroup
from portrait.serving.refresh.build import build_shard
from tests.serving.refresh.followed_instance import ITEMS, Followed, event, names
from tests.serving.refresh.test_shard import SLOWLY, followed_up
from tests.serving.state.test_assignment_poller import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def group(followed: Followed, ray_session: None) -> Iterator[ShardGroup]:
    """Two shards of an instance."""
    settings = followed.portrait.settings.model_copy(update={"refresh_shards": 2, "shard_cpus": 0.1})
    made = ShardGroup(settings, build_shard, {})
    made.start()
    yield made
    made.stop()


def holders(followed: Followed) -> dict[str | None, int]:
    """How many buckets each actor holds; None: nobody."""
    with followed.portrait.database.reading() as session:
        now = database_now(session)
        rows = list(session.scalars(select(LeaseRow)))
    return Counter(row.owner.partition("-")[2] if row.owner and row.expires_at > now else None for row in rows)


def epochs(followed: Followed) -> dict[int, int]:
    with followed.portrait.database.reading() as session:
        return {row.bucket: row.epoch for row in session.scalars(select(LeaseRow))}


def test_a_shard_that_is_killed_is_replaced_and_its_buckets_go_on(followed: Followed, group: ShardGroup) -> None:
    users = [next(names) for _ in range(40)]
    fairly = dict.fromkeys(group.names, BUCKETS // 2)
    wait_until(lambda: holders(followed) == fairly, 2 * SLOWLY)
    followed.accept([event(user, ITEMS[0], 0, f"{user}/0") for user in users])
    wait_until(lambda: followed_up(followed, settled=False), SLOWLY)
    before = epochs(followed)

    actor = ray.get_actor(group.names[0], namespace=NAMESPACE)
    process = ray.get(actor.__ray_call__.remote(lambda _self: os.getpid()))
    os.kill(process, signal.SIGKILL)
    followed.accept([event(user, ITEMS[1], 1, f"{user}/1") for user in users])
    wait_until(lambda: followed_up(followed, settled=False), 2 * SLOWLY)
    wait_until(lambda: holders(followed) == fairly, 2 * SLOWLY)
    assert ray.get(actor.__ray_call__.remote(lambda _self: os.getpid())) != process
    assert sum(epoch > before[bucket] for bucket, epoch in epochs(followed).items()) >= BUCKETS // 2
    followed.require_the_batch_result(["autoencoder-1"], users)

    group.stop()
    assert set(holders(followed)) == {None}
    assert followed.portrait.registry.replicas.list() == []
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(group.names[0], namespace=NAMESPACE)
