"""The reconcile command, `python -m portrait.feature_repo.store.reconcile`: an apply when Feast is behind.

Settings come from the environment. Prints errors only; exits with 0 when Feast is up to date, else with 1.
"""

import sys

from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.reconcile_process import generations_behind
from portrait.registry.errors import PortraitError
from portrait.registry.registry import Registry


def reconcile(settings: FeatureSettings) -> bool:
    """Apply when Feast is behind the registry; returns whether it was. Raises what `FeatureRepo.apply` raises."""
    registry = Registry.open(settings.database_url)
    try:
        registry.database.require_current()
        if not generations_behind(registry.database):
            return False
        _apply(settings, registry)
        return True
    finally:
        registry.close()


def _apply(settings: FeatureSettings, registry: Registry) -> None:
    from portrait.feature_repo.log.event_log import EventLog
    from portrait.feature_repo.store.feature_repo import (
        FeatureRepo,  # Feast takes seconds to import, and most calls find nothing to do
    )

    repo = FeatureRepo(settings, registry, EventLog(registry.database, settings))
    try:
        repo.apply()
    finally:
        repo.close()


def main() -> int:
    """Reconcile on the environment's settings; returns the exit status."""
    try:
        reconcile(FeatureSettings())
    except PortraitError as error:
        print(f"Feast was not brought up to date: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
