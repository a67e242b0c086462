"""Outcomes of rounds for a terminal."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from rich.table import Table

from tests.torture.chaos import Victim
from tests.torture.restart import Restart, Stage
from tests.torture.round import Outcome


def round_table(outcome: Outcome) -> Table:
    """One round."""
    one, found = outcome.round, outcome.findings
    title = f"seed {one.seed}, registry on {'Postgres' if one.postgres else 'SQLite'}: {_verdict(outcome)}"
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    table.add_row("killed", _kills(outcome.kills))
    table.add_row("events", f"{outcome.sent:,} sent, {outcome.answered:,} answered 202 ({outcome.known:,} as known)")
    table.add_row("requests sent again", f"{outcome.failures:,}")
    table.add_row(
        "in the log", f"{found.in_log:,}; {found.doubled} doubled, {found.lost} lost, {found.foreign} not sent"
    )
    wrong = ", ".join(f"{count} at {version}" for version, count in found.vectors_wrong.items()) or "not looked at"
    table.add_row(
        f"wrong, of {found.users:,} users",
        f"{found.histories_wrong} histories, {found.positions_wrong} positions; vectors: {wrong}",
    )
    table.add_row(
        "seconds", f"{outcome.seconds:.0f}, {outcome.drained:.1f} of them from the last answer to the last vector"
    )
    for number, restart in enumerate(outcome.restarts):
        what = f"restart {number}" if number else "start"
        table.add_row(what, f"serving in {restart.serving:.1f} s: {_stages(restart)}")
    for what in (*outcome.faults, *found.examples):
        table.add_row("wrong", what, style="red")
    return table


def summary_table(outcomes: Sequence[Outcome]) -> Table:
    """A row a round, and the sums."""
    table = Table(title="rounds", title_justify="left", title_style="bold")
    columns = (
        "seed",
        "registry",
        *(victim.value for victim in Victim),
        "sent",
        "202",
        "known",
        "in the log",
        "doubled",
    )
    for column in (*columns, "lost", "histories", "positions", "vectors wrong", "seconds", "restart s", ""):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        registry = "Postgres" if outcome.round.postgres else "SQLite"
        cells = [*map(str, _counts([outcome])), f"{outcome.seconds:.0f}", _slowest([outcome])]
        table.add_row(str(outcome.round.seed), registry, *cells, _verdict(outcome))
    table.add_section()
    seconds = sum(outcome.seconds for outcome in outcomes)
    failed = sum(not outcome.good for outcome in outcomes)
    table.add_row(
        "all", "", *map(str, _counts(outcomes)), f"{seconds:.0f}", slowest, f"{failed} failed" if failed else "ok"
    )
    return table


def restarts_table(outcomes: Sequence[Outcome]) -> Table:
    """Seconds from the start of everything, after everything was killed, until each stage."""
    restarts = _restarts(outcomes)
    table = Table(title=f"{len(restarts)} restarts of everything", title_justify="left", title_style="bold")
    table.add_column("seconds until")
    for column in ("fastest", "middle", "slowest"):
        table.add_column(column, justify="right")
    for stage in Stage if restarts else ():
        each = [restart.seconds[stage] for restart in restarts]
        table.add_row(stage.value, f"{min(each):.1f}", f"{median(each):.1f}", f"{max(each):.1f}")
    return table


def _restarts(outcomes: Sequence[Outcome]) -> list[Restart]:
    """Those after a kill of everything."""
    return [restart for outcome in outcomes for restart in outcome.restarts[1:]]


def _slowest(outcomes: Sequence[Outcome]) -> str:
    return max((f"{restart.serving:5.1f}" for restart in _restarts(outcomes)), default="")


def _counts(outcomes: Sequence[Outcome]) -> list[int]:
    kills = sum((outcome.kills for outcome in outcomes), Counter[Victim]())
    found = [outcome.findings for outcome in outcomes]
    return [
        *(kills[victim] for victim in Victim),
        sum(outcome.sent for outcome in outcomes),
        sum(outcome.answered for outcome in outcomes),
        sum(outcome.known for outcome in outcomes),
        sum(one.in_log for one in found),
        sum(one.doubled for one in found),
        sum(one.lost for one in found),
        sum(one.histories_wrong for one in found),
        sum(one.positions_wrong for one in found),
        sum(sum(one.vectors_wrong.values()) for one in found),
    ]


def _kills(kills: Counter[Victim]) -> str:
    return ", ".join(f"{victim.value} {kills[victim]}" for victim in Victim if kills[victim]) or "nothing"


def _stages(restart: Restart) -> str:
    return ", ".join(f"{stage.value} {restart.seconds[stage]:.1f}" for stage in Stage if stage in restart.seconds)


def _verdict(outcome: Outcome) -> str:
    return "ok" if outcome.good else "FAILED"
