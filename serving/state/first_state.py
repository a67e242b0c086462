"""The first state of a gateway: the registry's, or the copy on disk while the registry is away."""

from portrait.registry.database.database import Database
from portrait.registry.errors import RegistryBehind, RegistryForeign, Unavailable
from portrait.registry.serving_state.serving_state import ServingState, read_state
from portrait.serving.settings import ServingSettings
from portrait.serving.state.assignment_poller import PATIENCE
from portrait.serving.state.state_file import StateFile

STATE_FILE = "serving/assignments.json"
"""The path of the copy on disk, relative to the home."""


def state_file_of(settings: ServingSettings, database: Database) -> StateFile:
    """The file in which gateways of this home keep the assignments of this registry."""
    return StateFile(settings.home / STATE_FILE, database.shown_url)


def first_state(settings: ServingSettings) -> tuple[ServingState, str]:
    """The state that a gateway of these settings starts with, and a warning if it comes from disk (else empty).

    Raises the registry's error when the registry cannot be used and there is no copy on disk.
    """
    database = Database(settings.database_url, PATIENCE)
    try:
        database.require_current()
        return read_state(database), ""
    except (RegistryBehind, RegistryForeign):
        raise
    except Unavailable as error:
        kept = state_file_of(settings, database).load()
        if kept is None:
            raise
        return kept.state, f"serving starts with the assignments of {kept.age_seconds:,.0f} s ago: {error}"
    finally:
        database.close()
