"""How far Feast's registry, which only shows what this one decides, has come."""

from sqlalchemy import select, update

from portrait.registry.database.database import Database
from portrait.registry.database.tables import Instance
from portrait.registry.errors import RegistryMissing


def record_projected(database: Database, generation: int) -> None:
    """Keep that Feast shows everything up to a generation; an earlier one than is known changes nothing."""
    behind = update(Instance).where(Instance.projected < generation)
    with database.transaction() as session:
        session.execute(behind.values(projected=generation))


def generations_behind(database: Database) -> int:
    """How many generations Feast has not been brought to yet; 0 when it shows everything. Raises RegistryMissing."""
    with database.reading() as session:
        behind: int | None = session.scalar(select(Instance.generation - Instance.projected))
    if behind is None:
        raise RegistryMissing("the registry has no instance row: run `portrait apply` first")
    return behind
