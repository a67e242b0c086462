"""What the quick way of typeguard prepares is what typeguard prepares."""

import ast
import inspect
import sys
from collections.abc import Iterator
from types import CodeType, FunctionType

import feast
import pytest
from typeguard import TypeCheckError, _decorators
from typeguard._transformer import TypeguardTransformer

from portrait.feature_repo.entities import user

SHARE = 9
"""One method of so many is looked at: preparing all of them takes typeguard seconds, which is the reason for this."""


def test_methods_of_feast_have_the_very_code_that_typeguard_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _decorators.TypeguardTransformer is not TypeguardTransformer  # the quick one
    monkeypatch.setattr(_decorators, "ast", ast)
    monkeypatch.setattr(_decorators, "TypeguardTransformer", TypeguardTransformer)
    checked = list(checked_methods())
    assert len(checked) > 80
    for method in checked[::SHARE]:
        theirs = _decorators.instrument(method)
        assert isinstance(theirs, FunctionType)
        assert parts(theirs.__code__) == parts(method.__code__), method.__qualname__


def test_a_wrong_type_is_still_refused() -> None:
    with pytest.raises(TypeCheckError, match='argument "name"'):
        feast.Entity(name=5)
    assert user.name == "user"


def checked_methods() -> Iterator[FunctionType]:
    """Those of Feast's classes that typeguard has changed."""
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] != "feast":
            continue
        for of_class in vars(module).values():
            if inspect.isclass(of_class) and of_class.__module__ == name:
                for method in functions(of_class):
                    if method.__module__ == name and any("check_argument" in str(c) for c in parts(method.__code__)):
                        yield method


def functions(of_class: type) -> Iterator[FunctionType]:
    """Its methods and getters, without what wraps them."""
    for attribute in vars(of_class).values():
        inner = getattr(attribute, "fget", getattr(attribute, "__func__", attribute))
        if isinstance(inner, FunctionType):
            yield inner


def parts(code: CodeType) -> tuple[object, ...]:
    """All that a code object is made of, with the code within it."""
    constants = tuple(parts(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts)
    names = (code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return (code.co_code, *names, code.co_flags, code.co_linetable, code.co_exceptiontable, constants)
