"""Options and arguments that several commands share."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from portrait.feature_repo.log import time_text
from portrait.registry.errors import InvalidInput

Consumer = Annotated[str, typer.Argument(help="Name of the consumer.")]
Version = Annotated[str, typer.Argument(help="Embedding version, such as autoencoder-2.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", help="Only events before this time count (UTC; default: just after the newest event)."),
]
Reason = Annotated[str, typer.Option("--reason", help="Reason for the change; the history keeps it.")]


def parse_time(value: str | None, option: str = "--as-of") -> datetime | None:
    """A date or time as files have them, in UTC; raises InvalidInput for any other text."""
    if value is None:
        return None
    moment = time_text.parse_time(value)
    if moment is None:
        raise InvalidInput(f"{option} {value!r} is no time: write 2011-06-10 or 2011-06-10T12:00:00Z")
    return moment


def choices(name: str, values: Iterable[str]) -> Any:
    """The type of an option that takes one of these values: names of a table that the floors below keep."""
    return StrEnum(name, {value: value for value in values})
