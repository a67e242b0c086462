"""All settings of one instance: those of every floor, from the environment."""

import getpass

from pydantic import Field

from serving.settings import ServingSettings


class Settings(ServingSettings):
    """Every floor's settings, read once from `PORTRAIT_*` variables, plus those of the command line."""

    actor: str = Field(default_factory=getpass.getuser, description="Who is written into the promotion history.")
