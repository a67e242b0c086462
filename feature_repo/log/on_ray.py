"""The log's one seam to Ray: buckets cut as remote tasks."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from feature_repo.log.cut_buckets import BucketsCut, CutTask, cut_buckets

CPUS_A_TASK = 1
OBJECT_STORE_BYTES = 256 << 20  # tasks exchange file names and counts only


def cut_on_ray(tasks: Iterable[CutTask]) -> Iterator[BucketsCut]:
    """Run each task as a remote one, on the cluster in force or on one started here.

    Every task has one thread and waits for one CPU; it holds nothing while it waits, so it cannot
    block others. Results come as they are ready.
    """
    import ray  # takes a second: small logs never need it

    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False, object_store_memory=OBJECT_STORE_BYTES)
    remote = ray.remote(num_cpus=CPUS_A_TASK, max_retries=2)(cut_buckets)
    waiting = [remote.remote(replace(task, threads=1)) for task in tasks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield from ray.get(ready)
