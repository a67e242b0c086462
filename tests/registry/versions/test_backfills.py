from datetime import datetime, timedelta

import numpy as np
import pytest

from portrait.registry.database.tables import VersionState
from portrait.registry.errors import Conflict, InvalidInput, NotFound
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation
from tests.registry.factories import AS_OF, new_version, ready_version

LATER = AS_OF + timedelta(days=90)


def test_a_backfill_makes_its_version_ready(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, 5)
    assert (backfill.buckets_done, backfill.users_done, backfill.finished) == ({}, 0, False)
    assert registry.versions.get(version.id).state is VersionState.BACKFILLING
    registry.backfills.bucket_done(backfill.id, 3, 2)
    registry.backfills.bucket_done(backfill.id, 63, 3)
    finished = registry.backfills.finish(backfill.id)
    assert (finished.buckets_done, finished.users_done, finished.finished) == ({3: 2, 63: 3}, 5, True)
    ready = registry.versions.get(version.id)
    assert (ready.state, ready.last_as_of) == (VersionState.READY, AS_OF)


def test_an_interrupted_backfill_resumes_with_the_buckets_it_has(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    begun = registry.backfills.begin(version.id, "snapshot-1", AS_OF, 5)
    done = registry.backfills.bucket_done(begun.id, 0, 2)
    assert registry.backfills.begin(version.id, "snapshot-1", AS_OF, 5) == done
    assert registry.backfills.list(version.id) == [done]


def test_doing_a_finished_backfill_again_changes_nothing(registry: Registry) -> None:
    version = ready_version(registry, users=10)
    finished = registry.backfills.latest(version.id)
    generation = read_generation(registry.database)
    assert finished is not None
    assert registry.backfills.begin(version.id, "snapshot-1", AS_OF, 10) == finished
    assert registry.backfills.bucket_done(finished.id, 0, 10) == finished
    assert registry.backfills.finish(finished.id) == finished
    assert read_generation(registry.database) == generation
    with pytest.raises(Conflict, match="has finished"):
        registry.backfills.bucket_done(finished.id, 0, 11)


@pytest.mark.parametrize(("done", "said"), [(4, "4 of 5 users"), (6, "6 of 5 users"), (None, "0 of 5 users")])
def test_a_backfill_that_does_not_cover_every_user_cannot_finish(
    registry: Registry, done: int | None, said: str
) -> None:
    version = registry.versions.register(new_version())
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, 5)
    if done is not None:
        registry.backfills.bucket_done(backfill.id, 0, done)
    with pytest.raises(Conflict, match=f"{said}: run `portrait backfill autoencoder-1`"):
        registry.backfills.finish(backfill.id)
    assert registry.versions.get(version.id).state is VersionState.BACKFILLING
    registry.backfills.bucket_done(backfill.id, 0, 5)
    assert registry.backfills.finish(backfill.id).finished


def test_a_ready_version_stays_ready_while_it_is_backfilled_again(registry: Registry) -> None:
    version = ready_version(registry)
    second = registry.backfills.begin(version.id, "snapshot-2", LATER, 1)
    during = registry.versions.get(version.id)
    assert (during.state, during.last_as_of) == (VersionState.READY, AS_OF)
    assert registry.backfills.latest(version.id) == second
    registry.backfills.bucket_done(second.id, 0, 1)
    generation = read_generation(registry.database)
    registry.backfills.finish(second.id)
    assert registry.versions.get(version.id).last_as_of == LATER
    assert read_generation(registry.database) == generation + 1


def test_a_late_backfill_of_an_earlier_time_does_not_set_the_clock_back(registry: Registry) -> None:
    version = ready_version(registry)
    early = registry.backfills.begin(version.id, "snapshot-0", AS_OF - timedelta(days=30), 0)
    registry.backfills.finish(early.id)
    assert registry.versions.get(version.id).last_as_of == AS_OF
    assert [v.last_as_of for v in registry.versions.list()] == [AS_OF]


def test_a_failed_version_can_neither_begin_nor_go_on_nor_finish_a_backfill(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, 0)
    registry.versions.fail(version.id, "diverged")
    for refused in (
        lambda: registry.backfills.begin(version.id, "snapshot-2", AS_OF, 0),
        lambda: registry.backfills.bucket_done(backfill.id, 0, 0),
        lambda: registry.backfills.finish(backfill.id),
    ):
        with pytest.raises(Conflict, match=r"autoencoder-1 is failed \(diverged\)"):
            refused()
    assert registry.versions.get(version.id).state is VersionState.FAILED


def test_a_snapshot_that_changed_under_its_name_is_refused(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    registry.backfills.begin(version.id, "snapshot-1", AS_OF, 5)
    with pytest.raises(Conflict, match=r"with 5 users, not as of .* with 6"):
        registry.backfills.begin(version.id, "snapshot-1", AS_OF, 6)
    with pytest.raises(Conflict, match=r"as of 2011-06-10.* not as of 2011-09-08"):
        registry.backfills.begin(version.id, "snapshot-1", LATER, 5)


def test_what_is_unknown_or_nonsense_is_refused(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    with pytest.raises(NotFound, match="autoencoder-9"):
        registry.backfills.begin("autoencoder-9", "snapshot-1", AS_OF, 5)
    with pytest.raises(NotFound, match="no backfill 77"):
        registry.backfills.finish(77)
    with pytest.raises(NotFound, match="no backfill 77"):
        registry.backfills.bucket_done(77, 0, 1)
    with pytest.raises(NotFound):
        registry.backfills.latest("autoencoder-9")
    with pytest.raises(InvalidInput, match="no time zone"):
        registry.backfills.begin(version.id, "snapshot-1", datetime(2011, 6, 10), 5)
    with pytest.raises(InvalidInput, match="users_expected -1"):
        registry.backfills.begin(version.id, "snapshot-1", AS_OF, -1)
    with pytest.raises(InvalidInput, match="bucket -1"):
        registry.backfills.bucket_done(1, -1, 1)
    assert registry.backfills.latest(version.id) is None


def test_counts_may_come_from_numpy(registry: Registry) -> None:
    version = registry.versions.register(new_version())
    backfill = registry.backfills.begin(version.id, "snapshot-1", AS_OF, np.int64(4))  # type: ignore[arg-type]
    registry.backfills.bucket_done(backfill.id, np.int64(0), np.int64(4))  # type: ignore[arg-type]
    assert registry.backfills.finish(backfill.id).buckets_done == {0: 4}
