"""What a consumer asks of a version before it reads it: the settings of each gate, with defaults that suit most."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from registry.errors import InvalidInput

DAY = 86_400.0


@dataclass(frozen=True)
class GateSettings:
    """Limits of one consumer. Lags are in seconds, shares between 0 and 1."""

    min_coverage: float = 0.999  # of the known users, with a stored vector
    max_watermark_lag: float = DAY  # event time by which the version's vectors trail the log
    max_refresh_lag: float = DAY  # event time by which users' vectors trail their own history
    max_prior_share: float = 0.5  # of the vectors that say nothing about their user
    max_collapsed: float = 0.05  # of the dimensions that are the same for everybody
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
        if self.task and not self.metric:
            raise InvalidInput(f"task={self.task} without a metric: give both, metric=auc for instance")

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The settings of which `stored` holds those that are not the defaults; raises InvalidInput."""
        kinds = {field.name: type(field.default) for field in fields(cls)}
        values = {name: _typed(name, value, kinds) for name, value in stored.items()}
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        standard = asdict(GateSettings())
        return {name: value for name, value in asdict(self).items() if value != standard[name]}

    def overridden(self, assignments: Sequence[str]) -> Self:
        """The settings with `name=value` texts applied, `name=` alone back to the default; raises InvalidInput."""
        stored: dict[str, Any] = self.to_json()
        for assignment in assignments:
            name, equals, value = assignment.partition("=")
            if not equals:
                raise InvalidInput(f"gate setting {assignment!r}: write name=value, max_prior_share=0.2 for instance")
            stored.pop(name, None)
            if value or name not in {field.name for field in fields(self)}:
                stored[name] = value
        return self.from_json(stored)


def _typed(name: str, value: Any, kinds: Mapping[str, type]) -> Any:
    if name not in kinds:
        raise InvalidInput(f"there is no gate setting {name!r}; there are: {', '.join(kinds)}")
    try:
        if kinds[name] is bool:
            return {"true": True, "false": False}[str(value).lower()]
        return kinds[name](value)
    except (KeyError, TypeError, ValueError):
        raise InvalidInput(f"gate setting {name}={value!r} is no {kinds[name].__name__}") from None
