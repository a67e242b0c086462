"""Ray for this process: the cluster of the settings, or a local one that is for this process alone."""

import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.errors import Unavailable, first_line
from portrait.registry.private_folder import RAY, private_folder

START_SECONDS = 120.0
"""How long a local Ray may take to start; Ray's own limit of 30 is too short for a busy machine."""


def ensure_ray(settings: FeatureSettings) -> bool:
    """Connect to Ray unless this process is connected already; raises Unavailable where that fails.

    Joins the cluster of the settings or of RAY_ADDRESS, or else starts a local one for this process; returns whether it
    started one.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = settings.ray_address or os.environ.get("RAY_ADDRESS")
    if not address:
        _keep_to_this_process()
    import ray

    if ray.is_initialized():
        return False
    if address:
        try:
            ray.init(address=address, log_to_driver=False)
        except ConnectionError as error:
            raise Unavailable(f"there is no Ray cluster at {address} ({first_line(error)})") from error
        return False
    # Where Ray was imported before, it has not seen the variable.
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        with _patience():
            ray.init(
                address="local",  # without it Ray joins whatever cluster was started on this machine
                num_cpus=settings.ray_cpus,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=256 << 20,
                _temp_dir=str(private_folder() / RAY),  # by default in a folder where everybody may write
            )
    except Exception as error:
        raise Unavailable(
            f"Ray could not be started ({first_line(error)}): the machine may be too busy or short of memory; "
            "training also runs without Ray, with PORTRAIT_NUM_WORKERS=0"
        ) from error
    return True


def _keep_to_this_process() -> None:
    """Have a local Ray listen on loopback only, answer nobody but this process, and run at its priority.

    Variables that are set already keep their values. They have to be set before Ray is imported.
    """
    environment = os.environ
    environment.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # its name says why it is there: no firewall asks
    if environment.get("RAY_AUTH_MODE", "token").lower() == "token" and "RAY_AUTH_TOKEN_PATH" not in environment:
        # Ray would keep one token for all its clusters, in a file in HOME that other users may often read.
        environment.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray" not in sys.modules:
        environment.setdefault("RAY_AUTH_MODE", "token")  # the default, but said, so that Ray does not warn of it
    # By default Ray's workers run at niceness 15: any other process would hold up gateway, HAProxy and training.
    environment.setdefault("RAY_worker_niceness", "0")


@contextmanager
def _patience() -> Iterator[None]:
    """Let a starting Ray wait START_SECONDS for itself: its own limit is a number in the midst of a function."""
    from ray._private import services

    once: Callable[..., Any] = services.get_node
    until = time.monotonic() + START_SECONDS

    def patiently(*given: Any) -> Any:
        while True:
            try:
                return once(*given)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)

    services.get_node = patiently
    try:
        yield
    finally:
        services.get_node = once
