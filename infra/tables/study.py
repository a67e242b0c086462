"""Tables of a scaling study."""

from collections.abc import Iterator

from rich.table import Table

from portrait.infra.tables.layout import table_of
from portrait.training.scaling.law import PercentileInterval, PowerLaw
from portrait.training.scaling.study import Study
from portrait.training.scaling.study_run import StudyOutcome
from portrait.training.scaling.tables import between, flops


def study_tables(outcome: StudyOutcome) -> Iterator[Table]:
    """The runs in one line, the law, its checks, its forecasts."""
    study = outcome.study
    runs = table_of("Runs", "trained now", "there before", "failed", "held out of the fit", "FLOPs of all")
    total = flops(sum(run.flops for run in (*study.runs, *study.held_out)))
    counts = (outcome.trained, outcome.finished_before, len(outcome.failures), len(study.held_out))
    runs.add_row(*map(str, counts), total)
    yield runs
    if study.law:
        yield _law(study.law)
    if study.checks:
        yield _checks(study)
    if study.forecasts:
        yield _forecasts(study)


def warnings_of(study: Study) -> list[str]:
    """What speaks against relying on the law or on a forecast, a line each; why there is no law."""
    law = [f"warning: {warning}" for warning in study.law.warnings] if study.law else [study.refusal]
    return [*law, *(f"{flops(one.budget)} FLOPs: {note}" for one in study.forecasts for note in one.notes)]


def _law(law: PowerLaw) -> Table:
    table = table_of("Loss = L_inf + a C^-b", "parameter", "value", "95% interval")
    at = law.intervals
    table.add_row("L_inf (nats)", f"{law.irreducible:.3f}", between(at["irreducible"]))
    table.add_row("a", f"{law.coefficient:.3g}", _short(at["coefficient"]))
    table.add_row("b", f"{law.exponent:.4f}", between(at["exponent"], 4))
    table.add_row("R² of log loss", f"{law.r_squared:.4f}", "")
    table.add_row("points on the frontier", f"{len(law.frontier)}", "")
    table.add_row("decades of compute", f"{law.decades:.1f}", "")
    return table


def _checks(study: Study) -> Table:
    table = table_of("Held-out runs", "run", "FLOPs", "foretold", "95% interval", "its loss", "error", "inside")
    for one in study.checks:
        verdict = (f"{one.error:+.2%}", "yes" if one.inside else "no")
        table.add_row(
            one.name, flops(one.flops), f"{one.predicted:.3f}", between(one.interval), f"{one.actual:.3f}", *verdict
        )
    return table


def _forecasts(study: Study) -> Table:
    table = table_of("What to train next", "FLOPs", "run", "expected loss", "95% interval", "beyond the runs")
    for one in study.forecasts:
        beyond = f"{one.decades_outside:.1f} decades{': too far' if one.outside else ''}"
        table.add_row(flops(one.budget), one.setting.name, f"{one.loss:.3f}", between(one.interval), beyond)
    return table


def _short(interval: PercentileInterval) -> str:
    return f"{interval.low:.3g} to {interval.high:.3g}"
