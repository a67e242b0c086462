"""What the demo ends with: short tables, a few users with their neighbours, and a map."""

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table

from portrait.feature_repo.history.catalogue import catalogue
from portrait.infra.demo.report import draw_map, favourites, neighbour_table
from portrait.infra.demo.walk import Outcome
from portrait.infra.tables.consumers import consumers_table
from portrait.infra.tables.data import ingest_table
from portrait.infra.tables.versions import versions_table
from portrait.registry.serving_state.serving_state import read_state


def show(outcome: Outcome) -> Iterator[RenderableType]:
    """Tables in the order of the path; the last line names the picture."""
    portrait = outcome.portrait
    yield ingest_table(outcome.ingest)
    yield versions_table(outcome.versions)
    yield consumers_table(portrait.registry.consumers.list(), read_state(portrait.database).assignments)
    if outcome.vectors is not None and outcome.histories is not None:
        users, vectors = outcome.vectors
        yield neighbour_table(users, vectors, favourites(outcome.histories, catalogue(portrait.log)))
        picture = portrait.settings.home / "map.png"
        draw_map(vectors, [outcome.labels.get(user) for user in users], picture, legend=outcome.label)
    yield _findings(outcome)
    yield _stages(outcome)
    yield f"map of the users: {portrait.settings.home / 'map.png'}"
    yield f"look around in it: PORTRAIT_HOME={portrait.settings.home} portrait status"


def _findings(outcome: Outcome) -> Table:
    table = Table(title="Checked on the way", title_justify="left", title_style="bold", show_header=False)
    for what, finding in outcome.findings:
        table.add_row(what, finding)
    return table


def _stages(outcome: Outcome) -> Table:
    table = Table(title="Seconds", title_justify="left", title_style="bold", show_header=False)
    for stage, seconds in outcome.stages:
        table.add_row(stage, f"{seconds:.1f}")
    return table
