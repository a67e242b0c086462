"""The job of `portrait publish`: what the online store should have is put into it, vectors too."""

import time
import uuid

from portrait.feature_repo.store.feature_repo import WITH_VECTORS
from portrait.infra.portrait import Portrait
from portrait.registry.progress import Progress, silent
from portrait.serving.refresh.build import build_shard

LOOK_SECONDS = 0.1


def publish(portrait: Portrait, take_over: bool = False, progress: Progress | None = None) -> tuple[int, int]:
    """Put histories, profiles and, where the store has lost rows, vectors into the online store.

    What was lost is put back by a refresh shard of this process, beside those of a gateway if one runs. With
    `take_over` the store becomes this registry's, whatever fills it. Returns the numbers of users with new rows, and of
    buckets whose rows were put back. Raises StoreForeign or Unavailable.
    """
    repo = portrait.repo
    repo.apply()
    if take_over:
        repo.take_over()
    repo.identity.attest()
    lost = repo.identity.lost()
    if lost and portrait.registry.versions.list(WITH_VECTORS):
        _put_back(portrait, progress or silent)
    return repo.publish(progress), len(lost)


def _put_back(portrait: Portrait, progress: Progress) -> None:
    shard = build_shard(portrait.settings, f"publish-{uuid.uuid4().hex[:12]}")
    identity = portrait.repo.identity
    total = len(identity.lost())
    shard.start()
    try:
        while left := len(identity.lost()):
            progress("put back", max(total - left, 0), total)
            identity.problem()  # the shard would wait for a store that is away for ever
            time.sleep(LOOK_SECONDS)
        progress("put back", total, total)
    finally:
        shard.stop()
