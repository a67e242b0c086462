"""The registry as the floors above see it."""

from registry.backfills import Backfills
from registry.consumers import Consumers
from registry.database import Database
from registry.promotions import Promotions
from registry.versions import Versions


class Registry:
    """Versions, backfills, consumers and promotions over one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.versions = Versions(database)
        self.backfills = Backfills(database)
        self.consumers = Consumers(database)
        self.promotions = Promotions(database)

    @classmethod
    def open(cls, url: str) -> "Registry":
        """The registry at a SQLAlchemy URL; nothing is connected yet."""
        return cls(Database(url))

    def close(self) -> None:
        """Give back all connections."""
        self.database.close()
