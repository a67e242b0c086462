"""Reports of rounds for a terminal."""

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
    title = f"seed {one.seed} ({one.stack}): {_verdict(outcome)}"
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
    for column in ("seed", "stack"):
        table.add_column(column, no_wrap=True)
    killed = "/\n".join(victim.value for victim in Victim)
    counted = ("sent", "202", "known", "in the log", "doubled", "lost", "vectors wrong")
    for column in (killed, *counted, "seconds", "restart s", ""):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        table.add_row(str(outcome.round.seed), outcome.round.stack, *_cells([outcome]), _verdict(outcome))
    table.add_section()
    failed = sum(not outcome.good for outcome in outcomes)
    table.add_row("all", "", *_cells(outcomes), f"{failed} FAILED" if failed else "ok")
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


def _cells(outcomes: Sequence[Outcome]) -> list[str]:
    kills = sum((outcome.kills for outcome in outcomes), Counter[Victim]())
    found = [outcome.findings for outcome in outcomes]
    counts = [
        sum(outcome.sent for outcome in outcomes),
        sum(outcome.answered for outcome in outcomes),
        sum(outcome.known for outcome in outcomes),
        sum(one.in_log for one in found),
        sum(one.doubled for one in found),
        sum(one.lost for one in found),
        sum(sum(one.vectors_wrong.values()) for one in found),
    ]
    seconds = sum(outcome.seconds for outcome in outcomes)
    slowest = max((restart.serving for restart in _restarts(outcomes)), default=None)
    return [
        "/".join(str(kills[victim]) for victim in Victim),
        *(f"{count:,}" for count in counts),
        f"{seconds:.0f}",
        "" if slowest is None else f"{slowest:.1f}",
    ]


def _kills(kills: Counter[Victim]) -> str:
    return ", ".join(f"{victim.value} {kills[victim]}" for victim in Victim if kills[victim]) or "nothing"


def _stages(restart: Restart) -> str:
    return ", ".join(f"{stage.value} {restart.seconds[stage]:.1f}" for stage in Stage if stage in restart.seconds)


def _verdict(outcome: Outcome) -> str:
    return "ok" if outcome.good else "FAILED"
