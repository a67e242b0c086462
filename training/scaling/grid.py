"""The grid of a study's runs: every combination of a few values."""

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.runs import RunLog
from portrait.training.scaling.setting import Setting, StepCost

FEWEST = 2  # events of a sequence, and users of a batch: each is compared with another


@dataclass(frozen=True)
class Grid:
    """Every combination is a run. Its length is given in steps, or as FLOPs that the steps have to use up."""

    sizes: tuple[str, ...]
    users: tuple[int, ...]
    sequence_lengths: tuple[int, ...]
    batches: tuple[int, ...]
    steps: tuple[int, ...] = ()
    budgets: tuple[float, ...] = ()  # FLOPs a run
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name in ("sizes", "users", "sequence_lengths", "batches", "seeds"):
            if not getattr(self, name):
                raise InvalidInput(f"the grid has no {name}: give at least one")
        for name, values in (("sequence_lengths", self.sequence_lengths), ("batches", self.batches)):
            if min(values) < FEWEST:
                raise InvalidInput(f"the grid has {min(values)} among its {name}: give {FEWEST} or more")
        if bool(self.steps) == bool(self.budgets):
            given = (
                f"steps {_comma_list(self.steps)} and budgets {_comma_list(self.budgets)}" if self.steps else "neither"
            )
            raise InvalidInput(f"the grid wants either steps or budgets, and has {given}")

    def settings(self, cost: StepCost) -> list[Setting]:
        """The runs without duplicates, cheapest first, so that a study broken off early still has its small runs.

        Raises InvalidInput for a size that `cost` does not know and for a budget below one step.
        """
        found: dict[Setting, float] = {}
        lengths: Sequence[float] = self.steps or self.budgets
        for size, users, sequence_length, batch, length, seed in product(
            self.sizes, self.users, self.sequence_lengths, self.batches, lengths, self.seeds
        ):
            step = cost(size, sequence_length, batch)
            steps = int(length) if self.steps else round(length / step)
            if steps < 1:
                raise InvalidInput(
                    f"the budget {length:.3g} FLOPs is less than one step of size {size} with batch {batch} and "
                    f"sequence length {sequence_length} ({step:.3g}): raise it, or leave one of them out"
                )
            found[Setting(size, users, sequence_length, batch, steps, seed)] = steps * step
        return sorted(found, key=lambda setting: (found[setting], setting.name))


def remaining(settings: Sequence[Setting], log: RunLog) -> list[Setting]:
    """The settings that the log does not hold, in their order."""
    finished = log.finished()
    return [setting for setting in settings if setting.name not in finished]


def read_grid(options: Mapping[str, str | None], file: Path | None = None) -> Grid:
    """The grid of a TOML file, of comma-separated options by field name, or of both; an option comes before the file.

    Options that are None were not given. Raises InvalidInput naming the option or file, the field and the value.
    """
    values: dict[str, tuple[Any, ...]] = {}
    for name, listed in (_toml(file) if file else {}).items():
        values[name] = _values(name, listed if isinstance(listed, list) else [listed], str(file))
    for name, text in options.items():
        if text is not None:
            parts = [part.strip() for part in text.split(",") if part.strip()]
            values[name] = _values(name, parts, f"--{name.replace('_', '-')} {text}")
    for name in ("sizes", "users", "sequence_lengths", "batches"):
        if name not in values:
            raise InvalidInput(f"the grid has no {name}: give --{name.replace('_', '-')}, or {name} in a TOML file")
    return Grid(**values)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file}: not TOML ({error})") from error


def _values(name: str, parts: Sequence[Any], where: str) -> tuple[Any, ...]:
    kinds: dict[str, Callable[[Any], Any]] = {field.name: _whole for field in fields(Grid)}
    kinds |= {"sizes": _word, "budgets": _number, "seeds": lambda value: _whole(value, least=0)}
    if name not in kinds:
        raise InvalidInput(f"{where}: there is no {name!r} in a grid; it has {', '.join(kinds)}")
    values = []
    for part in parts:
        try:
            values.append(kinds[name](part))
        except ValueError as error:
            raise InvalidInput(f"{where}: {part!r} in {name} is not {error}") from error
    return tuple(values)


def positive(text: str, option: str) -> float:
    """The number that an option holds; raises InvalidInput naming the option and the text."""
    try:
        return _number(text)
    except ValueError as error:
        raise InvalidInput(f"{option} {text}: {text!r} is not {error}") from error


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("the name of a size")
    return value.strip()


def _number(value: Any) -> float:
    wanted = "a positive number"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(wanted) from error
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        raise ValueError(wanted)
    return number


def _whole(value: Any, least: int = 1) -> int:
    """The whole number of a value; 1e5 is one too, as people write large numbers so."""
    wanted = f"a whole number from {least} on"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(wanted) from error
    if isinstance(value, bool) or not number.is_integer() or number < least:
        raise ValueError(wanted)
    return int(number)


def _comma_list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
