"""The registry: one object with all of its parts, for the floors above."""

from typing import Self

from portrait.registry.access.audit import Audit
from portrait.registry.access.keys import Keys
from portrait.registry.consumers.consumers import Consumers
from portrait.registry.consumers.heads import Heads
from portrait.registry.database.database import Database
from portrait.registry.promotions.promotions import Promotions
from portrait.registry.serving_state.replicas import Replicas
from portrait.registry.versions.backfills import Backfills
from portrait.registry.versions.evidence import EvidenceLog
from portrait.registry.versions.retirements import Retirements
from portrait.registry.versions.versions import Versions

NOBODY = "portrait"
"""Actor of changes that the system makes by itself."""


class Registry:
    """All of the registry over one database, for one actor (a person, key or job) who is kept with every change."""

    def __init__(self, database: Database, actor: str = NOBODY) -> None:
        """Raises InvalidInput for an actor that the audit cannot name."""
        self.database = database
        self.audit = Audit(database, actor)
        self.actor = self.audit.actor
        self.versions = Versions(database, self.audit)
        self.evidence = EvidenceLog(database, self.actor)
        self.backfills = Backfills(database, self.audit)
        self.consumers = Consumers(database, self.audit)
        self.promotions = Promotions(database, self.audit)
        self.heads = Heads(database, self.audit)
        self.keys = Keys(database, self.audit)
        self.retirements = Retirements(database, self.audit)
        self.replicas = Replicas(database)

    @classmethod
    def open(cls, url: str, actor: str = NOBODY) -> Self:
        """The registry at a SQLAlchemy URL; nothing is connected yet."""
        return cls(Database(url), actor)

    def acting(self, actor: str) -> "Registry":
        """The same registry for another actor."""
        return Registry(self.database, actor)

    def close(self) -> None:
        self.database.close()
