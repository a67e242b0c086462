"""Ray for this process: the cluster of the settings, or a local one."""

import os

from portrait.feature_repo.settings import FeatureSettings


def ensure_ray(settings: FeatureSettings) -> None:
    """Connect to Ray unless this process is connected already.

    Joins the cluster of the settings or of RAY_ADDRESS, or else starts a local one for this process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return
    if address := settings.ray_address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False)
        return
    ray.init(
        address="local",  # without it Ray joins whatever cluster was started on this machine
        num_cpus=settings.ray_cpus,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=256 << 20,
    )
