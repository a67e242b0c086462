"""Settings of one consumer's promotion gates, with defaults that suit most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeAlias

from portrait.registry.errors import InvalidInput
from portrait.registry.text import one_line

DAY = 86_400.0

GateSettingChanges: TypeAlias = Mapping[str, Any] | Sequence[str]
"""Settings by name, where None puts the default back; or the same as texts, `name=value` and `name=`."""


@dataclass(frozen=True)
class GateSettings:
    """Limits that one consumer sets. Lags are in seconds, shares between 0 and 1."""

    min_coverage: float = 0.999  # of the known users, with a stored vector
    max_watermark_lag: float = DAY  # event time by which the version's vectors trail the log
    max_refresh_lag: float = DAY  # event time by which users' vectors trail their own history
    max_prior_share: float = 0.5  # of the vectors, that are the prior and so say nothing about their user
    max_collapsed: float = 0.05  # of the dimensions, that have the same value for everybody
    evidence_seconds: float = 3600.0  # how old the evidence may be
    task: str = ""  # the consumer's own task; empty asks for no metric
    metric: str = "auc"
    tolerance: float = 0.0  # by how much the metric may be worse than on the present version
    higher_is_better: bool = True

    def __post_init__(self) -> None:
        """Raise InvalidInput with the first value that cannot be a limit."""
        for name in ("min_coverage", "max_prior_share", "max_collapsed"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name}={getattr(self, name)} is a share: give a number between 0 and 1")
        for name in ("max_watermark_lag", "max_refresh_lag", "evidence_seconds", "tolerance"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InvalidInput(f"{name}={getattr(self, name)}: give a number that is not negative")
        if self.task:
            one_line("gate setting task", self.task, 128)
        one_line("gate setting metric", self.metric, 64)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The settings whose `to_json` is `stored`.

        A value that this code does not know or cannot use, because other code has stored it, counts as the default:
        the row of one consumer must not keep everybody from reading the registry.
        """
        return cls(**{name: _convert_value(name, value) for name, value in stored.items() if _usable(name, value)})

    def to_json(self) -> dict[str, Any]:
        """The values that differ from the defaults, by name."""
        standard = asdict(GateSettings())
        return {name: value for name, value in asdict(self).items() if value != standard[name]}

    def overridden(self, changes: GateSettingChanges) -> Self:
        """The settings with changes applied; raises InvalidInput for an unknown name or an impossible value."""
        values = self.to_json()
        for name, value in changes.items() if isinstance(changes, Mapping) else map(_parse_setting, changes):
            values.pop(name, None)
            if value not in (None, "") or name not in _KINDS:
                values[name] = _convert_value(name, value)
        return type(self)(**values)


_KINDS: dict[str, type] = {name: type(value) for name, value in asdict(GateSettings()).items()}


def unknown_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored values that this code does not know, because newer code wrote them; a change of the row keeps them."""
    return {name: value for name, value in stored.items() if name not in _KINDS}


def _parse_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(f"gate setting {text!r}: write name=value, max_prior_share=0.2 for instance")
    return name.strip(), value.strip()


def _convert_value(name: str, value: Any) -> Any:
    """A value in the type of its setting. Texts are parsed, but True is no number and a number is no text."""
    if name not in _KINDS:
        raise InvalidInput(f"there is no gate setting {name!r}; there are: {', '.join(_KINDS)}")
    kind = _KINDS[name]
    try:
        if kind is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if isinstance(value, bool) or (kind is str and not isinstance(value, str)):
            raise TypeError
        return kind(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InvalidInput(f"gate setting {name}={value!r} is no {kind.__name__}") from None


def _usable(name: str, value: Any) -> bool:
    try:
        GateSettings(**{name: _convert_value(name, value)})
    except InvalidInput:
        return False
    return True
