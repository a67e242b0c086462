"""The last known assignments on disk, for a gateway that starts while the registry is away."""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from portrait.feature_repo.log.durable_files import replacement
from portrait.registry.errors import PortraitError
from portrait.registry.serving_state.serving_state import ServingState
from portrait.serving.state.routing import served_versions

log = logging.getLogger(__name__)


class _Content(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")  # a metric that is not a number comes back as it was

    registry: str
    state: ServingState


@dataclass(frozen=True)
class KeptState:
    """A state that was read from disk, and its age."""

    state: ServingState
    age_seconds: float  # since the registry last confirmed it


class StateFile:
    """A JSON file with the state of one registry; it holds digests of keys, so only its owner may read it.

    `registry` is the registry's URL without its password: the file of another registry is never used.
    """

    def __init__(self, path: Path, registry: str) -> None:
        self.path = path
        self._registry = registry

    def save(self, state: ServingState) -> None:
        """Replace the file in one step: a reader sees the earlier state or this one. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = _Content(registry=self._registry, state=state).model_dump_json().encode()
        with replacement(self.path, mode=0o600) as scratch:  # the replicas of a machine share the file
            scratch.write_bytes(content)

    def confirm(self) -> None:
        """Record that the registry has confirmed the kept state just now. Raises OSError."""
        os.utime(self.path)

    def load(self) -> KeptState | None:
        """The kept state; None without a file, and, with a warning, for a damaged one or one of another registry."""
        try:
            content = _Content.model_validate_json(self.path.read_bytes())
            served_versions(content.state)
            age = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        except (OSError, ValidationError, PortraitError, KeyError) as error:
            log.warning("%s is damaged and not used: %s", self.path, error)
            return None
        if content.registry != self._registry:
            log.warning(
                "%s is of the registry %s and not used, this is %s", self.path, content.registry, self._registry
            )
            return None
        return KeptState(content.state, max(age, 0.0))
