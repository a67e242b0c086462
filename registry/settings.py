"""Settings of the registry floor."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def require_url(url: str) -> str:
    """`url` itself; raises ValueError, which settings turn into a complaint, unless it is empty or a URL."""
    try:
        make_url(url or "sqlite://")
    except (ArgumentError, ValueError):
        raise ValueError("write a URL such as postgresql://user@host/database") from None
    return url


class HomeSettings(BaseSettings):
    """Where everything of one Portrait instance lies; every floor's settings start from it."""

    model_config = SettingsConfigDict(env_prefix="PORTRAIT_", extra="ignore", frozen=True)

    home: Path = Field(default=PROJECT_ROOT / ".portrait", description="Home directory of this instance.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Resolved once: Feast changes the working directory, Ray workers have another one.
        return home.expanduser().resolve()


class RegistrySettings(HomeSettings):
    """The registry's database: SQLite in the home by default, Postgres in production."""

    registry_url: str = Field(
        default="", description="SQLAlchemy URL of the registry; postgresql:// is taken as psycopg 3."
    )

    _url = field_validator("registry_url")(require_url)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL to use: `registry_url` or else a SQLite file in the home, with psycopg 3 for Postgres."""
        url = self.registry_url or f"sqlite:///{self.home / 'registry.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1)
