"""Work on buckets by a pool of Ray Data actors, each of which opens what it needs once."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray.data

from portrait.feature_repo.ray_cluster import ensure_ray
from portrait.training.settings import TrainingSettings


def on_ray(
    worker: Callable[..., Any], work: Any, buckets: Sequence[int], settings: TrainingSettings
) -> Iterator[dict[str, Any]]:
    """Rows of what `worker(work)` makes of each bucket, as they finish; it is called with a column `bucket` of one."""
    ensure_ray(settings)
    pool = ray.data.from_items([{"bucket": bucket} for bucket in buckets], override_num_blocks=len(buckets))
    results = pool.map_batches(
        worker,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(settings.backfill_workers, len(buckets))),
        num_cpus=1,
    )
    yield from results.iter_rows()
