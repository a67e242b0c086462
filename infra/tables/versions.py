"""Tables of embedding versions and of the difference of two."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

from portrait.infra.tables.layout import day, moment, number, short_text, table_of
from portrait.registry.records.records import EmbeddingVersion

if TYPE_CHECKING:  # torch is not needed to draw a table
    from portrait.training.inspection.diff import VersionDiff


def versions_table(versions: Iterable[EmbeddingVersion]) -> Table:
    """Embedding versions: state, fingerprint, training window, and the as-of time of their vectors."""
    table = table_of(
        "Embedding versions", "version", "state", "fingerprint", "dim", "trained on events", "vectors as of", "code"
    )
    for version in versions:
        window = f"{day(version.data_from)} .. {day(version.data_to)}"
        table.add_row(
            version.id,
            version.state,
            version.fingerprint[:12],
            str(version.dimension),
            window,
            day(version.last_as_of),
            version.code_revision,
        )
    return table


def version_table(version: EmbeddingVersion) -> Table:
    """One version with its lineage, features, config and metrics."""
    table = table_of(version.id, "", "")
    lineage = {
        "state": version.state if version.failure is None else f"{version.state}: {version.failure}",
        "fingerprint": version.fingerprint,
        "dimension": version.dimension,
        "parent": version.parent,
        "trained on events": f"{moment(version.data_from)} .. {moment(version.data_to)}",
        "snapshot": version.snapshot,
        "vectors as of": moment(version.last_as_of),
        "run": version.run,
        "artifact": version.artifact,
        "code": version.code_revision,
        "registered": moment(version.created_at),
    }
    groups = {"features": version.feature_schema, "config": version.config, "metrics": version.metrics}
    for name, value in lineage.items():
        table.add_row(name, "-" if value is None else str(value))
    for group, values in groups.items():
        table.add_section()
        for name, value in values.items():
            table.add_row(f"{group}: {name}", short_text(value))
    return table


def diff_table(diff: "VersionDiff") -> Table:
    """Two versions side by side, and the distance between their spaces."""
    table = table_of(f"{diff.a.version} and {diff.b.version}", "", diff.a.version, diff.b.version, "between them")
    sides = (diff.a, diff.b)
    table.add_row("fingerprint", *(side.fingerprint[:12] for side in sides))
    table.add_row("dimension", *(str(side.dimension) for side in sides))
    table.add_row("coverage", *(f"{side.coverage:.2%}" for side in sides))
    for name in {**diff.a.metrics, **diff.b.metrics}:
        table.add_row(f"training: {name}", *(number(side.metrics.get(name)) for side in sides))
    for pair in diff.measured:
        on = f"{pair.metric} on {pair.task}" + (f" ({pair.data_stamp})" if pair.data_stamp else "")
        table.add_row(on, number(pair.a), number(pair.b))
    table.add_section()
    table.add_row("users compared", "", "", f"{diff.users_compared:,} of {diff.users_known:,}")
    table.add_row(f"neighbour overlap@{diff.neighbours}", "", "", number(diff.neighbour_overlap))
    table.add_row("mean cosine, raw", "", "", number(diff.cosine_raw))
    table.add_row("mean cosine, after the best rotation", "", "", number(diff.cosine_rotated))
    table.add_row("mean norm", *(number(side.mean_norm) for side in sides), f"drift {number(diff.norm_drift)}")
    return table
