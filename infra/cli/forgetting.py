"""What `portrait forget` shows."""

from collections.abc import Iterator

from rich.table import Table

from portrait.feature_repo.forgetting.report import ForgettingReport
from portrait.infra.tables.layout import moment, table_of


def forgetting_tables(report: ForgettingReport) -> Iterator[Table]:
    """What was found where, and then what is left and where."""
    found = table_of(f"{report.subject}, forgotten {moment(report.finished_at)}", "place", "found and deleted")
    for place, count in report.found.items():
        found.add_row(place, f"{count:,}")
    yield found
    left = table_of("What is left", "", "")
    left.add_row(
        "versions trained with the user", "\n".join(f"{one.id} ({one.state})" for one in report.trained) or "-"
    )
    if report.under_way:
        left.add_row("work under way", f"{report.under_way} ingests, snapshots or backfills: gone when they end")
    if report.not_purged:
        left.add_row("not written anew", "\n".join(report.not_purged))
    left.add_row("out of reach", "\n".join(report.out_of_reach))
    yield left
