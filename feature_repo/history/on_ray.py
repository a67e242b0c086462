"""The log's one seam to Ray: buckets cut as remote tasks."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from portrait.feature_repo.history.cut_buckets import BucketsCut, CutTask, cut_buckets
from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.feature_repo.settings import FeatureSettings

CPUS_A_TASK = 1


def cut_on_ray(tasks: Iterable[CutTask], settings: FeatureSettings) -> Iterator[BucketsCut]:
    """Run each task as a remote one, on the cluster in force or on one started here.

    Every task has one thread and waits for one CPU; it holds nothing while it waits, so it cannot
    block others. Results come as they are ready.
    """
    import ray  # takes a second: small logs never need it

    ensure_ray(settings)
    remote = ray.remote(num_cpus=CPUS_A_TASK, max_retries=2)(cut_buckets)
    waiting = [remote.remote(replace(task, threads=1)) for task in tasks]
    while waiting:
        ready, waiting = ray.wait(waiting, num_returns=1)
        yield from ray.get(ready)
