"""Databases on a Postgres server that are copies of others."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, create_engine, make_url, text


@dataclass(frozen=True)
class Databases:
    """Two databases on a server: the registry's, and that of Feast's registry."""

    server: str  # URL of any database of the server
    registry: str
    feast: str

    @classmethod
    def new(cls, server: str) -> "Databases":
        """Names that nobody has."""
        stem = f"torture_{uuid.uuid4().hex[:12]}"
        return cls(server, f"{stem}_registry", f"{stem}_feast")

    def create(self) -> None:
        """Make them, empty."""
        with self._administering() as connection:
            for name in (self.registry, self.feast):
                connection.execute(text(f"CREATE DATABASE {name}"))

    def copy_of(self, source: "Databases") -> None:
        """Make them copies of databases that nobody uses."""
        with self._administering() as connection:
            for name, like in ((self.registry, source.registry), (self.feast, source.feast)):
                connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like}"))

    def drop(self) -> None:
        """Remove them, whoever is connected."""
        with self._administering() as connection:
            for name in (self.registry, self.feast):
                connection.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))

    def url(self, name: str) -> str:
        """The URL of one of them."""
        url = make_url(self.server).set(drivername="postgresql+psycopg", database=name)
        return url.render_as_string(hide_password=False)

    @contextmanager
    def _administering(self) -> Iterator[Connection]:
        url = make_url(self.server).set(drivername="postgresql+psycopg")
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
