"""Forecasts: the setting to train with a budget, the loss to expect, and the check against a run."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from portrait.training.scaling.frontier import Point
from portrait.training.scaling.law import PercentileInterval, PowerLaw
from portrait.training.scaling.runs import Run
from portrait.training.scaling.setting import Setting, StepCost

REACH = 1.0  # decades beyond the frontier: a forecast further off is an opinion
FEWEST = 2  # users of a run, and of a batch: they are compared with each other
QUANTITIES = ("parameters", "batch", "tokens", "users", "sequence_length")


@dataclass(frozen=True)
class Trend:
    """quantity = value x (C / flops)^exponent along the frontier."""

    quantity: str
    exponent: float  # from 0 to 1
    value: float  # at `flops`, the middle of the frontier
    flops: float

    def at(self, flops: float) -> float:
        """The best value of the quantity at this compute."""
        return float(self.value * (flops / self.flops) ** self.exponent)


@dataclass(frozen=True)
class Forecast:
    """The setting to train with a budget, and the loss that a run of it should have."""

    budget: float  # FLOPs
    setting: Setting
    parameters: int
    tokens: float
    loss: float
    interval: PercentileInterval  # of a single run
    decades_outside: float  # between the budget and the nearest frontier point
    outside: bool  # too many: the loss must not be relied upon
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """The law against a run that it has not seen."""

    name: str
    flops: float
    predicted: float
    interval: PercentileInterval  # of a single run
    actual: float
    decades_outside: float

    @property
    def inside(self) -> bool:
        """Whether the run's loss lies in the interval."""
        return self.actual in self.interval

    @property
    def error(self) -> float:
        """The run's loss above the predicted one, as a share of the latter."""
        return self.actual / self.predicted - 1


def trends(law: PowerLaw) -> dict[str, Trend]:
    """The growth of the best configuration with compute, by quantity.

    A straight line through logarithms over the frontier. Its slope is kept between 0 and 1: nothing shrinks when
    compute grows, and nothing grows faster; with few points noise would say otherwise.
    """
    return {quantity: _trend(quantity, law.frontier) for quantity in QUANTITIES}


def forecast(
    law: PowerLaw, budget: float, parameters: Mapping[str, int], cost: StepCost, reach: float = REACH
) -> Forecast:
    """The setting for this budget by the trends: the nearest size, users to two digits, the nearest power of two as
    batch but no more than the users, two of both at least, a sequence length that the frontier has; steps use the
    budget up.

    More than `reach` decades outside the frontier it is answered all the same, but marked and with the distance.
    """
    wanted = {quantity: max(1.0, trend.at(budget)) for quantity, trend in trends(law).items()}
    size = min(parameters, key=lambda name: abs(np.log(parameters[name] / wanted["parameters"])))
    users = max(FEWEST, round(float(f"{wanted['users']:.2g}")))
    batch = max(FEWEST, 2 ** min(round(np.log2(wanted["batch"])), int(np.log2(users))))
    lengths = sorted({point.first.sequence_length for point in law.frontier})
    length = min(lengths, key=lambda known: abs(np.log(known / wanted["sequence_length"])))
    steps = max(1, round(budget / cost(size, length, batch)))
    setting = Setting(size, users, length, batch, steps, seed=0)
    decades = law.decades_outside(budget)
    return Forecast(
        budget=budget,
        setting=setting,
        parameters=parameters[size],
        tokens=budget / (_flops_a_token(law) * parameters[size]),
        loss=law.loss(budget),
        interval=law.prediction(budget),
        decades_outside=decades,
        outside=decades > reach,
        notes=(*_notes(law, decades, reach, wanted["parameters"], parameters), *_batch_notes(wanted["batch"], setting)),
    )


def check(run: Run, law: PowerLaw) -> Check:
    """Compare a run that was kept out of the fit with what the law says for its compute."""
    return Check(
        name=run.name,
        flops=run.flops,
        predicted=law.loss(run.flops),
        interval=law.prediction(run.flops),
        actual=run.loss,
        decades_outside=law.decades_outside(run.flops),
    )


def _trend(quantity: str, frontier: tuple[Point, ...]) -> Trend:
    compute = np.log([point.flops for point in frontier])
    values = np.log([float(getattr(point.first, quantity)) for point in frontier])
    slope = round(float(np.clip(np.polyfit(compute, values, 1)[0], 0.0, 1.0)), 9)
    return Trend(quantity, slope, float(np.exp(values.mean())), float(np.exp(compute.mean())))


def _flops_a_token(law: PowerLaw) -> float:
    """FLOPs for each token and parameter as the runs counted them; about 6."""
    ratios = [run.flops / (run.parameters * run.tokens) for point in law.frontier for run in point.runs]
    return float(np.median(ratios))


def _notes(law: PowerLaw, decades: float, reach: float, wanted: float, parameters: Mapping[str, int]) -> list[str]:
    notes = []
    if decades > reach:
        notes.append(
            f"Do not rely on it: the budget lies {decades:.1f} decades outside the frontier ({law.least:.2g} to "
            f"{law.most:.2g} FLOPs), more than {reach:g}. Train something in between first."
        )
    smallest, largest = min(parameters.values()), max(parameters.values())
    if not smallest / 2 <= wanted <= largest * 2:
        notes.append(
            f"The trend asks for {wanted:.2g} parameters, the named sizes have {smallest:.2g} to {largest:.2g}: "
            "with the nearest of them the loss will be higher than expected here."
        )
    return notes


def _batch_notes(wanted: float, setting: Setting) -> list[str]:
    if round(np.log2(wanted)) <= np.log2(setting.users):
        return []
    return [
        f"The trend asks for a batch of {wanted:.2g}, and there are {setting.users:,} users to draw it from: with "
        f"{setting.batch:,} the loss may be higher than expected here. Train on more users."
    ]
