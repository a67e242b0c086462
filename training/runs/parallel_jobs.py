"""Parallel jobs: independent ones through Ray tasks or in turn in this process, and buckets through a Ray Data pool."""

import os
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch

from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.registry.errors import PortraitError
from portrait.training.settings import TrainingSettings

Job = TypeVar("Job")
Result = TypeVar("Result")


def in_turn(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[Job, Result | Exception]]:
    """Yield each job with its result or its error; one that fails does not stop the others."""
    for job in jobs:
        try:
            yield job, work(job)
        except Exception as error:
            yield job, error


def side_by_side(
    work: Callable[[Job], Result], jobs: Sequence[Job], settings: TrainingSettings, at_once: int | None = None
) -> Iterator[tuple[Job, Result | Exception]]:
    """Run the jobs through Ray and yield them as they end; they begin in order, and `work` goes to each machine once.

    `at_once` None: as many as there is room for, which on a Ray started here is one for each processor.
    """
    if not jobs:
        return
    import ray  # takes a second, and jobs in turn do not need it

    own = not (ray.is_initialized() or settings.ray_address or os.environ.get("RAY_ADDRESS"))
    ensure_ray(settings)
    # Ray started here pretends to have more CPUs than there are; of a cluster's, Ray itself keeps count.
    room = at_once or (max(1, (os.cpu_count() or 1) // settings.worker_cpus) if own else len(jobs))
    remote = ray.remote(
        num_cpus=settings.worker_cpus, num_gpus=settings.study_gpu_share if settings.use_gpu else 0, max_retries=1
    )(_do)
    shared, queue = ray.put(work), deque(jobs)
    waiting: dict[ray.ObjectRef, Job] = {}
    while queue or waiting:
        while queue and len(waiting) < room:
            job = queue.popleft()
            waiting[remote.remote(shared, job, settings.worker_cpus)] = job
        [ready], _ = ray.wait(list(waiting), num_returns=1)
        ended = waiting.pop(ready)
        try:
            yield ended, ray.get(ready)
        except Exception as error:
            yield ended, getattr(error, "cause", None) or error  # the error itself, not Ray's page about it


def _do(work: Callable[[Job], Result], job: Job, threads: int) -> Result:
    torch.set_num_threads(threads)
    return work(job)


def on_ray(
    worker: Callable[..., Any], work: Any, buckets: Sequence[int], settings: TrainingSettings
) -> Iterator[dict[str, Any]]:
    """Rows that `worker(work)` makes of each bucket, as they finish; each call gets a batch of one `bucket`.

    An error of ours is raised as it was in the worker, without Ray's page about it.
    """
    import ray.data

    ensure_ray(settings)
    pool = ray.data.from_items([{"bucket": bucket} for bucket in buckets], override_num_blocks=len(buckets))
    results = pool.map_batches(
        _Telling,
        fn_constructor_args=(worker, work),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(settings.backfill_workers, len(buckets))),
        num_cpus=1,
    )
    for row in results.iter_rows():
        if FAILURE in row:
            raise pickle.loads(row[FAILURE])
        yield row


FAILURE = "failure"


class _Telling:
    """A worker whose errors of ours become rows."""

    def __init__(self, worker: Callable[..., Any], work: Any) -> None:
        self._worker = worker(work)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        try:
            done: dict[str, Any] = self._worker(batch)
            return done
        except PortraitError as error:
            return {FAILURE: [pickle.dumps(error)]}
