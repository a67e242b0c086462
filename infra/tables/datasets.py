"""Tables of training sets and of heads trained on them."""

from rich.table import Table

from portrait.infra.tables.layout import moment, table_of
from portrait.registry.records.records import Head
from portrait.training.heads.trained import HeadReport
from portrait.training.pinned.make import Made


def dataset_table(made: Made) -> Table:
    """A training set, and the counts of the labels that went into it."""
    stamp = made.stamp
    table = table_of(str(made.out), "", "")
    table.add_row("consumer", stamp.consumer)
    table.add_row("version", f"{stamp.version} ({stamp.fingerprint[:12]})")
    table.add_row("data stamp", stamp.data_stamp)
    table.add_row("grid", stamp.grid)
    table.add_row("vectors as of", f"{moment(made.first_as_of)} .. {moment(made.last_as_of)}")
    table.add_section()
    table.add_row("rows of the labels file", f"{made.read:,}")
    table.add_row("rows with a vector", f"{made.rows:,}")
    table.add_row("rejected", f"{sum(made.rejected.values()):,}")
    for reason, rows in sorted(made.rejected.items()):
        table.add_row(f"  {reason}", f"{rows:,}")
    if made.rejects:
        table.add_row("  with their numbers in", str(made.rejects))
    table.add_section()
    fate = "left out" if made.early_dropped else "kept; --after-training leaves them out"
    table.add_row("from before the version's training time", f"{made.early:,}" + (f" ({fate})" if made.early else ""))
    table.add_row("from before the log began", f"{made.before_log:,}")
    table.add_row("of users whom nobody knows", f"{made.unknown:,}")
    table.add_row("with the prior, nothing being known yet", f"{made.priors:,}")
    return table


def trained_head_table(trained: HeadReport, record: Head) -> Table:
    """A trained head, and its metrics on the test users."""
    table, told = table_of(f"Head {record.id} of {record.consumer}", "", ""), trained.interval
    names = "items" if trained.ranks else "classes"
    table.add_row("on", f"{record.version} ({record.fingerprint[:12]})")
    table.add_row("kind", trained.head.kind)
    table.add_row("task", f"{record.task}, {len(trained.head.names):,} {names}")
    table.add_row("data stamp", record.data_stamp)
    for part, users in trained.users.items():
        table.add_row(f"{part} users (rows)", f"{users:,} ({trained.examples[part]:,})")
    table.add_row("rows without a label", f"{trained.unlabelled:,}")
    if trained.forgotten:
        told_of = "left out; make the set again, its file still holds them"
        table.add_row("users forgotten since the set was made", f"{trained.forgotten:,} ({told_of})")
    if trained.unseen:
        table.add_row(f"rows of {names} that no training user has", f"{trained.unseen:,}")
    table.add_section()
    table.add_row(
        f"{trained.measured} on the test users", f"{told.value:.3f}, 95% within {told.low:.3f} .. {told.high:.3f}"
    )
    for name, value in record.metrics.items():
        if not name.startswith(trained.measured):
            table.add_row(name, f"{value:.3f}")
    table.add_row("lives at", record.location)
    return table
