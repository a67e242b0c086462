"""The serving state: the generation that serving polls, and everything that it needs to route a request."""

from dataclasses import dataclass, field

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from portrait.registry.database.database import Database
from portrait.registry.database.tables import ApiKeyRow, AssignmentRow, ConsumerRow, EmbeddingVersionRow, Instance
from portrait.registry.errors import RegistryMissing
from portrait.registry.records.records import ApiKey, AsOfs, Assignment, Consumer, EmbeddingVersion
from portrait.registry.rows import as_ofs


@dataclass(frozen=True)
class ServingState:
    """All assignments, versions, consumers and API keys at one generation."""

    generation: int
    assignments: dict[str, Assignment]
    versions: dict[str, EmbeddingVersion]
    consumers: dict[str, Consumer] = field(default_factory=dict)  # those without an assignment too
    keys: dict[str, ApiKey] = field(default_factory=dict)  # by id, the revoked ones too


def read_generation(database: Database) -> int:
    """The generation, in one cheap query; it grows with every change that `read_state` shows."""
    with database.reading() as session:
        return generation_of(session)


def read_state(database: Database) -> ServingState:
    """Everything at one generation, read in one transaction."""
    with database.reading() as session:
        generation = generation_of(session)
        times = as_ofs(session)
        return ServingState(
            generation=generation,
            assignments={row.consumer: Assignment.from_row(row) for row in session.scalars(select(AssignmentRow))},
            versions={
                row.id: EmbeddingVersion.from_row(row, times.get(row.id, AsOfs()))
                for row in session.scalars(select(EmbeddingVersionRow))
            },
            consumers={row.name: Consumer.from_row(row) for row in session.scalars(select(ConsumerRow))},
            keys={row.id: ApiKey.from_row(row) for row in session.scalars(select(ApiKeyRow))},
        )


def generation_of(session: Session) -> int:
    """The generation that a session sees; raises RegistryMissing."""
    generation: int | None = session.scalar(select(Instance.generation))
    if generation is None:
        raise RegistryMissing("the registry has no instance row: run `portrait apply` first")
    return generation


def record_projected(database: Database, generation: int) -> None:
    """Record that Feast shows everything up to a generation; an earlier one than recorded changes nothing."""
    behind = update(Instance).where(Instance.projected < generation)
    with database.transaction() as session:
        session.execute(behind.values(projected=generation))


def generations_behind(database: Database) -> int:
    """The number of generations that Feast is behind; 0 when it shows everything. Raises RegistryMissing."""
    with database.reading() as session:
        behind: int | None = session.scalar(select(Instance.generation - Instance.projected))
    if behind is None:
        raise RegistryMissing("the registry has no instance row: run `portrait apply` first")
    return behind
