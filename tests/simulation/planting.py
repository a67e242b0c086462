"""Planting of bugs: the source of a function is changed by a few words, and everybody has the changed one."""

import functools
import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType
from typing import Any


@dataclass(frozen=True)
class Bug:
    """A bug: what is wrong, where, which words it changes to which, and the faults without which nobody can see it."""

    name: str
    place: str  # module:function or module:Class.method, below `portrait`
    edits: tuple[tuple[str, str], ...]
    needs: tuple[str, ...] = ()


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Have a bug in the program as long as the block lasts; raises LookupError when its words are not there."""
    module_name, _, path = bug.place.partition(":")
    module = import_module(f"portrait.{module_name}")
    *owners, name = path.split(".")
    owner: Any = functools.reduce(getattr, owners, module)
    right = inspect.getattr_static(owner, name)
    wrong = _changed(right, bug)
    places = [owner] if owners else _importers(right, name)
    for place in places:
        setattr(place, name, wrong)
    try:
        yield
    finally:
        for place in places:
            setattr(place, name, right)


def _changed(right: Any, bug: Bug) -> Any:
    plain: FunctionType = inspect.unwrap(right.fget if isinstance(right, property) else right)
    source = inspect.getsource(plain)
    for old, new in bug.edits:
        if source.count(old) != 1:
            raise LookupError(f"{bug.name}: {old!r} is {source.count(old)} times in {bug.place}")
        source = source.replace(old, new)
    made: dict[str, Any] = {}
    exec(compile(textwrap.dedent(source), f"<{bug.name}>", "exec"), plain.__globals__, made)
    return made[plain.__name__]


def _importers(right: Any, name: str) -> list[Any]:
    """The modules that have the function under its name."""
    modules = [module for key, module in list(sys.modules.items()) if key.startswith("portrait.")]
    return [module for module in modules if module.__dict__.get(name) is right]
