"""Settings of the registry floor."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent


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

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        url = self.registry_url or f"sqlite:///{self.home / 'registry.db'}"
        return url.replace("postgresql://", "postgresql+psycopg://", 1)
