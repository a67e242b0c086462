"""Overrides of the fields of a frozen config dataclass by text, as `--set name=value` gives it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from portrait.registry.errors import InvalidInput

Config = TypeVar("Config", bound=Any)


def assignments(texts: Sequence[str]) -> dict[str, str]:
    """`["epochs=5"]` as `{"epochs": "5"}`; raises InvalidInput for a text without `=` or a name given twice."""
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InvalidInput(f"--set {text}: write it as name=value, for example epochs=20")
        if name in values:
            raise InvalidInput(f"--set {text}: {name} is set to {values[name]!r} already")
        values[name] = value
    return values


def override(config: Config, values: Mapping[str, str]) -> Config:
    """A copy of the config with these fields parsed from text; tuples are comma-separated.

    Raises InvalidInput naming the field, the value and what would be right.
    """
    parsed = {name: _parse_field(config, name, text) for name, text in values.items()}
    try:
        return replace(config, **parsed)
    except ValueError as error:
        raise InvalidInput(f"--set {error}") from error


def config_from_json(kind: type[Config], document: Mapping[str, Any]) -> Config:
    """The config of a JSON document, whose lists become tuples."""
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    config: Config = kind(**values)
    return config


def _parse_field(config: Any, name: str, text: str) -> Any:
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    if name not in known:
        raise InvalidInput(f"--set {name}={text}: there is no {name!r}; the fields are {', '.join(sorted(known))}")
    default = known[name]
    kind = type(default[0]) if isinstance(default, tuple) else type(default)
    try:
        if isinstance(default, tuple):
            return tuple(_value(kind, part) for part in text.split(",") if part.strip())
        return _value(kind, text)
    except ValueError as error:
        wanted = f"comma-separated {kind.__name__}s" if isinstance(default, tuple) else f"one {kind.__name__}"
        raise InvalidInput(f"--set {name}={text}: {text!r} is not {wanted} (now {default!r})") from error


def _value(kind: type, text: str) -> Any:
    if kind is bool:
        choices = {"true": True, "false": False}
        if text.strip().lower() not in choices:
            raise ValueError(text)
        return choices[text.strip().lower()]
    value = kind(text.strip())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value
