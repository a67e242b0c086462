"""Settings of one instance: those of every floor, from the environment."""

import getpass
import os
import re
from typing import Any

from pydantic import Field, ValidationError

from portrait.registry.errors import InvalidInput
from portrait.serving.settings import ServingSettings

PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")
"""Of a URL."""


def _user() -> str:
    """The name of the user who runs this; a number in containers that run under one without a name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on the version of Python
        return f"uid-{os.getuid()}"


class Settings(ServingSettings):
    """Every floor's settings, read once from `PORTRAIT_*` variables, plus those of the command line."""

    actor: str = Field(default_factory=_user, description="Who is written into the promotion history.")

    def __init__(self, **values: Any) -> None:
        """Values that are not given come from the environment. Raises InvalidInput, which names the wrong variables."""
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidInput("; ".join(map(_complaint, error.errors()))) from None


def _complaint(error: Any) -> str:
    variable = "_".join(["PORTRAIT", *map(str, error["loc"])]).upper()
    message = error["msg"].removeprefix("Value error, ")
    shown = PASSWORD.sub("***", str(error["input"]))
    return f"{variable}={shown}: {message[0].lower()}{message[1:]}"
