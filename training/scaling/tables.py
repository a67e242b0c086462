"""The numbers of a study as Markdown tables and as JSON."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from portrait.training.scaling.effects import BatchEffect, statements
from portrait.training.scaling.frontier import points
from portrait.training.scaling.law import PercentileInterval, PowerLaw
from portrait.training.scaling.study import Study

DIGITS = 6  # of a number in the JSON: further ones differ between processors


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def flops(value: float) -> str:
    """The number as text, such as 1.23e15."""
    mantissa, _, power = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(power)}"


def between(interval: PercentileInterval, digits: int = 3) -> str:
    """The interval as text, such as 1.234 to 1.345."""
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}"


def law_table(law: PowerLaw) -> str:
    """A row for each parameter with its interval."""
    at = law.intervals
    coefficient = at["coefficient"]
    rows = [
        ("irreducible loss L_inf (nats)", f"{law.irreducible:.3f}", between(at["irreducible"])),
        ("coefficient a", f"{law.coefficient:.3g}", f"{coefficient.low:.3g} to {coefficient.high:.3g}"),
        ("exponent b", f"{law.exponent:.4f}", between(at["exponent"], 4)),
    ]
    return table(("parameter", "value", "95% interval"), rows)


def frontier_table(law: PowerLaw) -> str:
    """A row for each point that the law was fitted to."""
    rows = [
        (
            point.configuration,
            flops(point.flops),
            f"{point.first.parameters:,}",
            f"{point.first.batch:,}",
            str(len(point.runs)),
            f"{point.loss:.4f}",
            f"{law.loss(point.flops):.4f}",
            f"{law.residual(point):+.2%}",
        )
        for point in law.frontier
    ]
    return table(("configuration", "FLOPs", "parameters", "batch", "seeds", "loss", "law", "residual"), rows)


def check_table(study: Study) -> str:
    """A row for each held-out run beside the law."""
    rows = [
        (
            check.name,
            flops(check.flops),
            f"{check.predicted:.3f}",
            between(check.interval),
            f"{check.actual:.3f}",
            f"{check.error:+.2%}",
            "yes" if check.inside else "no",
            f"{check.decades_outside:.2f}",
        )
        for check in study.checks
    ]
    head = ("run", "FLOPs", "predicted", "95% interval", "actual", "error", "inside", "decades beyond")
    return table(head, rows)


def forecast_table(study: Study) -> str:
    """A row for each budget: the setting to train, and the expected loss."""
    rows = [
        (
            flops(forecast.budget),
            forecast.setting.size,
            f"{forecast.setting.batch:,}",
            f"{forecast.setting.steps:,}",
            f"{forecast.setting.users:,}",
            f"{forecast.tokens:.2g}",
            f"{forecast.loss:.3f}",
            between(forecast.interval),
            f"{forecast.decades_outside:.1f}{' (too far)' if forecast.outside else ''}",
        )
        for forecast in study.forecasts
    ]
    head = ("FLOPs", "size", "batch", "steps", "users", "tokens", "expected loss", "95% interval", "decades beyond")
    return table(head, rows)


def trend_table(study: Study) -> str:
    """A row for each quantity that grows with compute."""
    rows = [
        (trend.quantity.replace("_", " "), f"{trend.exponent:.2f}", f"{10**trend.exponent:.2f}")
        for trend in study.trends.values()
    ]
    return table(("quantity", "exponent of compute", "factor for ten times the compute"), rows)


def batch_table(effect: BatchEffect) -> str:
    """Loss by size and batch."""
    batches = sorted({cell.first.batch for cell in effect.cells})
    losses = {(cell.first.size, cell.first.batch): f"{cell.loss:.3f}" for cell in effect.cells}
    rows = [(size, *(losses.get((size, batch), "") for batch in batches)) for size in effect.sizes]
    return table(("size", *(f"batch {batch:,}" for batch in batches)), rows)


def run_table(study: Study) -> str:
    """A row for each configuration."""
    rows = [
        (
            point.configuration,
            flops(point.flops),
            f"{point.first.tokens:.3g}",
            f"{point.first.epochs:.2g}",
            str(len(point.runs)),
            f"{point.loss:.4f}" if point.converged else "diverged",
            "" if point.downstream is None else f"{point.downstream:.4f}",
            f"{math.fsum(run.seconds for run in point.runs):,.0f}",
        )
        for point in points((*study.runs, *study.held_out))
    ]
    return table(("configuration", "FLOPs", "tokens", "epochs", "seeds", "loss", "downstream", "seconds"), rows)


def numbers(study: Study) -> dict[str, Any]:
    """All numbers for JSON: six digits, null for what is not finite."""
    found = {
        "law": _law(study.law),
        "refusal": study.refusal,
        "trends": {name: asdict(trend) for name, trend in study.trends.items()},
        "checks": [{**asdict(check), "inside": check.inside, "error": check.error} for check in study.checks],
        "forecasts": [{**asdict(forecast), "run": forecast.setting.name} for forecast in study.forecasts],
        "effects": [_effect(effect) for effect in study.effects],
        "correlation": asdict(study.correlation) if study.correlation else None,
        "runs": [asdict(run) for run in study.runs],
        "held_out": [asdict(run) for run in study.held_out],
    }
    rounded: dict[str, Any] = _round_floats(found)
    return rounded


def _law(law: PowerLaw | None) -> dict[str, Any] | None:
    if law is None:
        return None
    return {
        "irreducible": law.irreducible,
        "coefficient": law.coefficient,
        "exponent": law.exponent,
        "intervals": {name: asdict(interval) for name, interval in law.intervals.items()},
        "scatter": law.scatter,
        "r_squared": law.r_squared,
        "decades": law.decades,
        "resamplings": len(law.draws),
        "frontier": [
            {"configuration": p.configuration, "flops": p.flops, "loss": p.loss, "residual": law.residual(p)}
            for p in law.frontier
        ],
        "warnings": list(law.warnings),
    }


def _effect(effect: BatchEffect) -> dict[str, Any]:
    return {
        "equal": effect.equal.value,
        "amount": effect.amount,
        "spread": effect.spread,
        "losses": [{"size": c.first.size, "batch": c.first.batch, "loss": c.loss} for c in effect.cells],
        "gains": [asdict(gain) for gain in effect.gains],
        "statements": statements(effect),
    }


def _round_floats(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _round_floats(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_round_floats(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value
