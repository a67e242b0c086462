"""Python files that teams put into the folder of `feast apply`: found, imported as Feast does, and never overlooked."""

import ast
import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from feast.repo_operations import get_ignore_files, get_repo_files, read_feastignore

from portrait.registry.errors import InvalidInput

PACKAGE = Path(__file__).resolve().parent.parent
"""The folder of this package, which is the default folder of `feast apply`."""

# What our .feastignore said before 0.2. A copy of it hides a team's files in sub-folders, and those of such a name.
_FORMER_LINES = """
*/**/*.py catalogue_file.py cluster.py declaration.py dtypes.py entities.py environment.py fresh.py guard.py
input_schema.py inputs.py live_inputs.py numbers_view.py offline.py online_inputs.py own_instance.py progress.py
projection.py reconcile.py schemas.py settings.py source_files.py store.py synchronise.py team.py views.py
"""
_FEAST_DECLARATIONS = """
BatchFeatureView Entity FeatureService FeatureView OnDemandFeatureView StreamFeatureView
batch_feature_view on_demand_feature_view stream_feature_view
"""
_NEVER_READ = (".git", ".venv", "**/.ipynb_checkpoints", "**/.pytest_cache", "**/__pycache__")  # by Feast itself


def team_modules(folder: Path) -> list[ModuleType]:
    """The teams' files in the folder and below it, imported by the names that Feast imports them by.

    Raises InvalidInput for a file that `feast apply` would overlook: one that a line of ours in .feastignore hides, or
    whose name is that of another module.
    """
    _require_nothing_hidden(folder)
    files = [file for file in get_repo_files(folder) if file != (folder / "definitions.py").resolve()]
    return [_import(folder, file) for file in files]


def module_name(folder: Path, file: Path) -> str:
    """The name by which Feast, working in `folder`, imports a file of it: `fraud.views` for fraud/views.py."""
    return ".".join(file.resolve().relative_to(folder.resolve()).with_suffix("").parts)


def forget_modules(folder: Path) -> None:
    """Let the next import of each file in the folder read it again; Feast imports them by bare names."""
    for file in get_repo_files(folder):
        name = module_name(folder, file)
        module = sys.modules.get(name)
        if module is not None and _place(module) == file:
            del sys.modules[name]
            for package in _packages(name):
                sys.modules.pop(package, None)
    importlib.invalidate_caches()


def _packages(name: str) -> Iterable[str]:
    parts = name.split(".")[:-1]
    return (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))


def _import(folder: Path, file: Path) -> ModuleType:
    name = module_name(folder, file)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the file imports something that is not there
        module = None
    if module is None or _place(module) != file:
        found = (module and _place(module)) or "another module"
        raise InvalidInput(
            f"Feast would overlook {file}: Python takes `import {name}` for {found}. Rename the file (or its folder)"
        )
    return module


def _place(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _require_nothing_hidden(folder: Path) -> None:
    if folder.resolve() == PACKAGE:
        return  # there each file that .feastignore hides is listed by its name, and is ours
    lines = read_feastignore(folder)
    ours = {*_FORMER_LINES.split(), *read_feastignore(PACKAGE)}
    allowed = get_ignore_files(folder, [*_NEVER_READ, *(line for line in lines if line not in ours)])
    for line in (line for line in lines if line in ours):
        for file in sorted(get_ignore_files(folder, [line]) - allowed):
            if file.name != "__init__.py" and not _is_copy_of_ours(folder, file):
                raise InvalidInput(
                    f"Feast would overlook {file}: the line {line!r}, which came with Portrait, hides it in "
                    f"{folder / '.feastignore'}. Delete that line, or rename the file; what Feast is not to read "
                    "gets a line of your own that names it"
                )


def _is_copy_of_ours(folder: Path, file: Path) -> bool:
    """Whether the folder is a copy of this whole package, and the file a module of it that declares nothing."""
    if not (folder / "log" / "event_log.py").exists():
        return False
    return file == (folder / "entities.py").resolve() or not _declares(file)


def _declares(file: Path) -> bool:
    """Whether the file calls Feast's constructors, or uses its decorators, outside of functions and classes."""
    statements = ast.parse(file.read_bytes()).body
    outside = (node for node in statements if not isinstance(node, ast.FunctionDef | ast.ClassDef))
    called = [node.func for part in outside for node in ast.walk(part) if isinstance(node, ast.Call)]
    marks = [mark for node in statements if isinstance(node, ast.FunctionDef) for mark in node.decorator_list]
    called += [mark.func if isinstance(mark, ast.Call) else mark for mark in marks]
    return any(ast.unparse(name).rsplit(".", 1)[-1] in _FEAST_DECLARATIONS.split() for name in called)
