"""Feast without the seconds that typeguard takes to prepare it.

Feast's classes are `@typechecked`: for each of their methods typeguard parses, changes and compiles the whole module
again, almost half of the processor time of `import feast`. Here it parses a module once, and changes and compiles the
one method alone. The code that comes out is the same (tests/feature_repo/test_quick_typeguard.py).
"""

import sys
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False  # every Python of the environment starts by importing this module: nothing that takes time
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence
    from types import ModuleType


KNOWN = "4.6."
"""The releases of typeguard whose inside is the one that the test compares."""


class BeforeFeast:
    """A finder that finds nothing: when Feast is first looked for, it makes typeguard quick and goes."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """None, so that the next finder is asked."""
        if fullname == "feast":
            sys.meta_path.remove(self)
            make_quick()
        return None


def make_quick() -> None:
    """Let typeguard look at one method at a time; a release whose inside we do not know stays as it is."""
    import ast
    from functools import cache
    from importlib.metadata import version
    from types import SimpleNamespace

    try:
        from typeguard import _decorators
        from typeguard._transformer import TypeguardTransformer
    except ImportError:
        return
    if not version("typeguard").startswith(KNOWN):
        return

    class OneMethod(TypeguardTransformer):
        """Typeguard's own, of which each use sees the imports of a module and the way to one method."""

        def visit_Module(self, node: ast.Module) -> ast.Module:
            """Leave out what the method does not need."""
            assert self._target_path is not None
            node.body = list(_way(node.body, self._target_path, self.target_lineno))
            return super().visit_Module(node)

    parsed = cache(ast.parse)

    def parse(source: str) -> ast.Module:
        return ast.Module([*parsed(source).body], [])  # of its own: what is kept must not change

    _decorators.ast = SimpleNamespace(parse=parse)  # type: ignore[attr-defined, assignment]
    _decorators.TypeguardTransformer = OneMethod  # type: ignore[attr-defined]


def _way(body: "list[ast.stmt]", path: "Sequence[str]", line: int | None) -> "Iterator[ast.stmt]":
    """Copies of all statements but classes and functions that do not lead to `path`, whose code begins at `line`."""
    import ast
    from copy import copy, deepcopy

    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield deepcopy(node)
        elif node.name == path[0]:
            if isinstance(node, ast.ClassDef) and path[1:]:
                outer = copy(node)
                outer.body = list(_way(node.body, path[1:], line))
                outer.decorator_list = [*node.decorator_list]
                yield outer
            elif path[1:] or min(one.lineno for one in (node, *node.decorator_list)) == line:
                yield deepcopy(node)
