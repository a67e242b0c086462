"""Names under which Portrait could be imported before 0.2, and which users have in files of their own.

Until then five packages were installed at the top (`serving`, `feature_repo`, ...), where they collided with folders of
that name in a team's own repository. Importing this module, which `portrait_old_names.pth` does when Python starts,
makes the names below importable again, each with a FutureWarning that says the new one. A team's own package of such a
name always goes first. See docs/decisions/0017-one-import-package.md.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # every Python of the environment starts by importing this module: nothing that takes time
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_FLOORS = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120

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
    "serving.client.sending": "portrait.serving.client.sending",
    "serving.client.wire": "portrait.serving.client.wire",
    "training.heads.head": "portrait.training.heads.head",
}
"""Old name -> where it is now."""
_PARENTS = {name.rsplit(".", depth)[0] for name in MOVED for depth in range(1, name.count(".") + 1)} - MOVED.keys()


class OldNames:
    """A finder and loader of the old names, unless the path has a module of that name that is not a floor of ours."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """The spec of an old name, None for all others."""
        if fullname not in MOVED and fullname not in _PARENTS:
            return None
        if _is_of_others(PathFinder.find_spec(fullname, path)):
            return None
        return ModuleSpec(fullname, self, is_package=fullname in _PARENTS)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> "ModuleType | None":
        """An empty module: the package that only leads to an old name, or what `exec_module` replaces."""
        if spec.name in MOVED:
            import warnings

            new = MOVED[spec.name]
            warnings.warn(f"{spec.name} is called {new} since Portrait 0.2", FutureWarning, stacklevel=2)
        return None

    def exec_module(self, module: "ModuleType") -> None:
        """Put the new module in the place of the old one."""
        if module.__name__ in MOVED:
            from importlib import import_module

            sys.modules[module.__name__] = import_module(MOVED[module.__name__])


def _is_of_others(spec: ModuleSpec | None) -> bool:
    if spec is None:
        return False
    if spec.origin is None or spec.origin == "namespace":  # a folder without __init__.py: what is in it decides
        return any(not _is_ours(place) for place in spec.submodule_search_locations or ())
    return not _is_ours(spec.origin)


def _is_ours(place: str) -> bool:
    floors = (os.path.realpath(f"{_FLOORS}/{floor}") for floor in ("feature_repo", "serving", "training"))
    return any(f"{os.path.realpath(place)}/".startswith(f"{floor}/") for floor in floors)


def install() -> None:
    """Make the old names importable, once."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())


install()
