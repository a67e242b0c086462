"""Names under which Portrait could be imported before 0.2, and which users have in files of their own.

Until then five packages were installed at the top (`serving`, `feature_repo`, ...), where they collided with folders of
that name in a team's own repository. Importing this module, which `portrait_old_names.pth` does when Python starts,
makes the names below importable again, each with a FutureWarning that says the new one. A team's own package of such a
name always goes first. See docs/decisions/0017-one-import-package.md.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_FLOORS = Path(__file__).parent

MOVED = {
    "feature_repo.declaration": "portrait.feature_repo.declaration.declaration",
    "feature_repo.entities": "portrait.feature_repo.entities",
    "feature_repo.offline": "portrait.feature_repo.declaration.offline_store",
    "feature_repo.online.redis": "portrait.feature_repo.online.redis",
    "feature_repo.online.sqlite": "portrait.feature_repo.online.sqlite",
    "serving.client": "portrait.serving.client",
    "serving.client.answers": "portrait.serving.client.answers",
    "serving.client.errors": "portrait.serving.client.errors",
    "serving.client.http": "portrait.serving.client.http",
    "training.heads.head": "portrait.training.heads.head",
}
"""Old name -> where it is now."""
_PARENTS = {name.rsplit(".", depth)[0] for name in MOVED for depth in range(1, name.count(".") + 1)} - MOVED.keys()


class OldNames(MetaPathFinder, Loader):
    """Finds the old names, unless the path has a module of that name that is not a folder of this checkout."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of an old name, None for all others."""
        if fullname not in MOVED and fullname not in _PARENTS:
            return None
        if _somebody_elses(PathFinder.find_spec(fullname, path)):
            return None
        return ModuleSpec(fullname, self, is_package=fullname in _PARENTS)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """The module that the old name now means; an empty package for what only leads to it."""
        if spec.name in _PARENTS:
            return None
        warnings.warn(f"{spec.name} is called {MOVED[spec.name]} since Portrait 0.2", FutureWarning, stacklevel=2)
        return _Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Put the new module in the place of the old one."""
        if module.__name__ in MOVED:
            sys.modules[module.__name__] = import_module(MOVED[module.__name__])


class _Moved(ModuleType):
    """Stands for the new module until it is loaded: importlib writes its own attributes into this one."""


def _somebody_elses(spec: ModuleSpec | None) -> bool:
    if spec is None:
        return False
    if spec.origin is None or spec.origin == "namespace":  # a folder without __init__.py: what is in it decides
        return any(not _ours(Path(place)) for place in spec.submodule_search_locations or ())
    return not _ours(Path(spec.origin))


def _ours(place: Path) -> bool:
    return any(
        place.resolve().is_relative_to((_FLOORS / floor).resolve()) for floor in ("feature_repo", "serving", "training")
    )


def install() -> None:
    """Make the old names importable, once."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())


install()
