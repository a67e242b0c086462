"""The analysis of a study: law, checks, forecasts and effects of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from portrait.registry.errors import InvalidInput
from portrait.training.scaling.effects import BatchEffect, Correlation, Equal, batch_effect, correlation
from portrait.training.scaling.fit import fit
from portrait.training.scaling.forecast import Check, Forecast, Trend, check, forecast, trends
from portrait.training.scaling.law import PowerLaw
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import StepCost


@dataclass(frozen=True)
class Study:
    """The numbers behind the report; independent of the order in which the runs came."""

    runs: tuple[Run, ...]  # by compute, without those kept out
    held_out: tuple[Run, ...]  # that the law has not seen
    law: PowerLaw | None
    refusal: str  # why there is no law; empty when there is one
    trends: Mapping[str, Trend]
    checks: tuple[Check, ...]  # one a held-out run
    forecasts: tuple[Forecast, ...]  # one a budget
    effects: tuple[BatchEffect, ...]
    correlation: Correlation | None


def analyse(
    runs: Sequence[Run],
    parameters: Mapping[str, int],
    cost: StepCost,
    budgets: Sequence[float] = (),
    held_out: Sequence[str] = (),
    n: int = 500,
    seed: int = 0,
) -> Study:
    """Fit the law to all runs but the held-out ones, check it against those, look ahead to the budgets (FLOPs).

    A run is held out with the other seeds of its configuration, or the law would know its loss all the same.
    `n` resamplings give the intervals. Raises InvalidInput for a held-out name that no run has.
    """
    known = {run.name: run.setting.configuration for run in runs}
    for name in held_out:
        if name not in known:
            raise InvalidInput(f"there is no run {name!r} to hold out; the log has {len(known)} others")
    kept_out = {known[name] for name in held_out}
    ordered = sorted(runs, key=lambda run: (run.flops, run.name))
    seen = tuple(run for run in ordered if run.setting.configuration not in kept_out)
    unseen = tuple(run for run in ordered if run.setting.configuration in kept_out)
    law, refusal = _law(seen, n, seed)
    found = (batch_effect(ordered, equal) for equal in Equal)
    return Study(
        runs=seen,
        held_out=unseen,
        law=law,
        refusal=refusal,
        trends=trends(law) if law else {},
        checks=tuple(check(run, law) for run in unseen) if law else (),
        forecasts=tuple(forecast(law, budget, parameters, cost) for budget in sorted(budgets)) if law else (),
        effects=tuple(effect for effect in found if effect is not None),
        correlation=correlation(ordered, seed=seed),
    )


def _law(runs: Sequence[Run], n: int, seed: int) -> tuple[PowerLaw | None, str]:
    try:
        return fit(runs, n, seed), ""
    except InvalidInput as error:
        return None, f"There is no law: {error}."
