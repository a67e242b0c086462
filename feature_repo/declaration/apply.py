"""Apply: brings Feast's registry and online tables to what the definitions declare, as `feast apply` does.

It takes the same steps as Feast's command line (parse the folder, diff, apply), so that `feast plan` right after
reports nothing. It also takes care that only one apply runs at a time, which Feast does not.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path

from feast import FeatureStore
from feast.diff.property_diff import TransitionType
from feast.diff.registry_diff import FeastObjectDiff
from feast.repo_contents import RepoContents
from feast.repo_operations import extract_objects_for_apply_delete, parse_repo
from filelock import FileLock
from sqlalchemy import text

from portrait.feature_repo.declaration.environment import feast_environment
from portrait.feature_repo.declaration.team_files import forget_modules
from portrait.feature_repo.settings import FeatureSettings
from portrait.registry.database.database import Database

# An arbitrary lock number: processes that apply against one Postgres registry wait for it.
_ADVISORY_LOCK = 7_077_261_812
_DONE = {TransitionType.CREATE: "created", TransitionType.UPDATE: "updated", TransitionType.DELETE: "deleted"}


def synchronise(feast: FeatureStore, settings: FeatureSettings) -> list[str]:
    """Apply what the folder declares; returns a line for each change. Call it under `apply_lock`.

    Raises what the definitions raise, before anything was changed.
    """
    repo = parse_definitions(settings)
    registry_diff, infra_diff, new_infra = feast.plan(repo)
    if feast._should_use_plan():
        feast._apply_diffs(registry_diff, infra_diff, new_infra)
    else:
        changed, gone, _, _ = extract_objects_for_apply_delete(feast.project, feast.registry, repo)
        feast.apply(changed, objects_to_delete=gone, partial=False)
    feast.refresh_registry()
    return [
        f"{_DONE[diff.transition_type]} {diff.feast_object_type.value} {diff.name}"
        for diff in registry_diff.feast_object_diffs
        if diff.transition_type in _DONE and not _is_internal(diff)
    ]


def parse_definitions(settings: FeatureSettings) -> RepoContents:
    """The objects that the Python files of the feature repository declare, read anew."""
    with _as_command_line(settings.feature_repo, feast_environment(settings)):
        return parse_repo(settings.feature_repo)


@contextmanager
def apply_lock(settings: FeatureSettings, database: Database) -> Iterator[None]:
    """One apply at a time: a file lock in the home, on Postgres an advisory lock for all machines too."""
    with FileLock(settings.home / "apply.lock"), database.connecting() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
        try:
            yield
        finally:
            if not database.is_sqlite:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})


@contextmanager
def _as_command_line(folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Work as if `feast` had been called in the folder with this environment; afterwards restore everything."""
    before = dict(os.environ), list(sys.path), sys.dont_write_bytecode
    os.environ.update(environment)
    sys.path.append(str(folder))
    sys.dont_write_bytecode = True  # a file that changes twice in one second would be read from its bytecode
    try:
        with chdir(folder):
            forget_modules(folder)
            yield
    finally:
        forget_modules(folder)
        os.environ.clear()
        os.environ.update(before[0])
        sys.path[:] = before[1]
        sys.dont_write_bytecode = before[2]


def _is_internal(diff: FeastObjectDiff) -> bool:
    return re.fullmatch(r"__.*", diff.name) is not None  # Feast's placeholder entity
