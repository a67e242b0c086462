"""Reconciling of Feast with the registry, in a process of its own.

A change commits in the registry alone, and reads over HTTP need nothing else. Feast's views and services follow by
`FeatureRepo.apply`, which records the generation that it has shown. An apply that never came, because of a crash or
because Feast's registry was away, is noticed here and made up for. This module does not import Feast.
"""

import os
import subprocess
import sys

from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.serving_state.serving_state import generations_behind as generations_behind

RECONCILE_SECONDS = 300.0


def reconcile_in_process_of_its_own(
    settings: FeatureSettings, timeout: float = RECONCILE_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run `python -m portrait.feature_repo.store.reconcile` on these settings.

    Its `returncode` is 0 when Feast is up to date; its complaints are in `stderr`. It is a process of its own, because
    applying changes directory and environment of its process. Raises subprocess.TimeoutExpired, after ending the
    process, when it takes too long: the next apply finishes an apply that was cut off.
    """
    return subprocess.run(
        [sys.executable, "-m", "portrait.feature_repo.store.reconcile"],
        env={**os.environ, **settings_environment(settings)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def settings_environment(settings: FeatureSettings) -> dict[str, str]:
    """The settings of the feature floor as the `PORTRAIT_*` variables that another process reads them from."""
    return {f"PORTRAIT_{name.upper()}": str(getattr(settings, name)) for name in FeatureSettings.model_fields}
