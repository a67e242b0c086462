"""Settings of the registry floor."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

PROJECT_ROOT = Path(__file__).resolve().parent.parent


def require_url(url: str) -> str:
    """`url` itself; raises ValueError, which settings turn into a complaint, unless it is empty or a URL."""
    try:
        make_url(url or "sqlite://")
    except (ArgumentError, ValueError):
        raise ValueError("write a URL such as postgresql://user@host/database") from None
    return url


def sqlite_url(path: Path) -> str:
    """The SQLAlchemy URL of a SQLite file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def with_psycopg(url: str) -> str:
    """The URL itself, or one for psycopg 3 of a postgresql:// that names no driver."""
    scheme = "postgresql://"
    return f"postgresql+psycopg://{url.removeprefix(scheme)}" if url.startswith(scheme) else url


SQL_DRIVERS = {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}


def require_sql_url(url: str) -> str:
    """`url` itself; raises ValueError unless it is empty or the URL of a database that Portrait runs on."""
    if url and make_url(require_url(url)).drivername not in SQL_DRIVERS:
        raise ValueError("Portrait runs on SQLite and Postgres: write postgresql://user@host/database")
    return url


class HomeSettings(BaseSettings):
    """Where everything of one Portrait instance lies; every floor's settings start from it."""

    model_config = SettingsConfigDict(env_prefix="PORTRAIT_", extra="ignore", frozen=True)

    home: Path = Field(default=PROJECT_ROOT / ".portrait", description="Home directory of this instance.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # Resolved once: Feast changes the working directory, Ray workers have another one.
        try:
            home = home.expanduser().resolve()
        except RuntimeError:  # neither HOME nor a user's entry, or ~name of nobody
            raise ValueError("nobody knows what ~ is here: write the whole path, or set HOME") from None
        if "\\" in str(home) and set("*?[") & set(str(home)):  # together they cannot be written for DuckDB's readers
            raise ValueError("a path with both a backslash and one of * ? [ cannot be read: choose another folder")
        return home


class RegistrySettings(HomeSettings):
    """The registry's database: SQLite in the home by default, Postgres in production."""

    registry_url: str = Field(
        default="", description="SQLAlchemy URL of the registry; postgresql:// is taken as psycopg 3."
    )

    _url = field_validator("registry_url")(require_sql_url)

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL to use: `registry_url` or else a SQLite file in the home, with psycopg 3 for Postgres."""
        return with_psycopg(self.registry_url or sqlite_url(self.home / "registry.db"))
