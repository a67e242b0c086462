"""Waiting for gateways and refresh shards to follow the registry."""

import time

from feature_repo.progress import Progress
from registry.records import Replica, Role
from registry.replicas import Replicas

LOOK_SECONDS = 0.1


def await_followers(
    replicas: Replicas, generation: int, seconds: float, progress: Progress, role: Role | None = None
) -> list[Replica]:
    """Wait until all that are alive, or those of a role, serve the state at `generation`.

    Returns those that still do not after `seconds`: none, when all went well.
    """
    until = time.monotonic() + seconds
    while behind := _of(role, replicas.behind(generation)):
        alive = len(_of(role, replicas.list()))
        progress(f"{role or 'gateway'}s", max(alive - len(behind), 0), alive)
        if time.monotonic() > until:
            return behind
        time.sleep(LOOK_SECONDS)
    return []


def _of(role: Role | None, replicas: list[Replica]) -> list[Replica]:
    return [replica for replica in replicas if role in (None, replica.role)]
