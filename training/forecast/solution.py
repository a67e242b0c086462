"""The solution in closed form: principal components of what is known of a user and of what it forecasts.

With x the standardised row, y = x B its weighted parts and f = y R the ridge regression of the future on y, the vector
is z = (x - m) T with T = B [I, R] V, V the principal directions of [y, f]. So coordinates come ordered by how much they
tell, a prefix of them is a good vector too, and both matrices are sums over users: exact, without a seed, and the same
in whatever order users come. The scale of a coordinate is how far apart it puts the users' blocks.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portrait.registry.progress import Progress
from portrait.training.blocks.blocks import BlockKind
from portrait.training.blocks.prepare import PreparedRows
from portrait.training.blocks.row_builder import RowBuilder
from portrait.training.blocks.standard_rows import StandardRows, columns_of
from portrait.training.encoding.arrays import DAY_US, NO_TIME, UNKNOWN, Float32, Float64, Int64
from portrait.training.forecast.config import ForecastConfig
from portrait.training.forecast.cross_moments import CrossMoments, principal, ridge
from portrait.training.forecast.directions import Directions, Halves
from portrait.training.forecast.parts import Parts, parts_of
from portrait.training.forecast.targets import (
    future_items,
    future_numbers,
    future_width,
    horizons_of,
    past_cuts,
)
from portrait.training.runs.training_inputs import TrainingInputs

FEWEST = 100  # pairs of a user and a cut, with fewer of which nothing is forecast
COMPONENTS = 240  # of y that the future is regressed on; the rest of y is noise to it
LEAST = 1e-10  # share of the largest variance at which a coordinate says nothing, and is 0
"""Variances are sums of float32 products: below this they are rounding."""


@dataclass(frozen=True)
class Solution:
    """z = x known - middle + g x_static cold: float32 matrices [columns of x, dimension], and [dimension]."""

    known: Float32
    cold: Float32  # what profile and picks tell of behaviour; rows of behaviour are 0
    middle: Float32
    unforecast: float  # share of the variance of what was forecast that held-out users kept


def solve(
    inputs: TrainingInputs, prepared: PreparedRows, rows: StandardRows, config: ForecastConfig, progress: Progress
) -> Solution:
    """The solution over the users of a run; `rows` standardises theirs."""
    builder = RowBuilder.of_prepared(inputs, prepared)
    directions = _directions(inputs, builder, config, progress)
    parts = parts_of(rows, directions, config)
    everybody = _moments(prepared, rows, progress)
    known = parts.matrix.T @ everybody.covariance @ parts.matrix
    forecast, unforecast = _forecast(inputs, builder, rows, parts, known, directions, config, progress)
    joined = np.concatenate([np.eye(len(known)), forecast], axis=1)
    variance, axes = principal(joined.T @ known @ joined, config.dimension)
    of_y = joined @ axes
    useful = variance > LEAST * max(float(variance.max(initial=0)), LEAST)
    unit = np.where(useful, 1 / np.sqrt(np.where(useful, variance, 1)), 0)
    # How far a coordinate puts blocks apart: the variance of the parts that it explains.
    explained = np.square(known @ of_y * unit) * parts.distance[:, None]
    scale = np.sqrt(explained.sum(axis=0))
    scale *= np.sqrt(useful.sum() / max(float(np.square(scale).sum()), 1e-12))
    told = np.zeros((rows.columns, config.dimension))
    told[:, : len(unit)] = parts.matrix @ of_y * (unit * scale)
    behaviour = np.concatenate(
        [np.full(part.stop - part.start, block.behaviour) for block, _, part in rows.of_row], dtype=bool
    )
    cold = _cold(everybody, told, behaviour, config)
    return Solution(
        told.astype(np.float32), cold.astype(np.float32), (everybody.mean @ told).astype(np.float32), unforecast
    )


def code_shares(prepared: PreparedRows) -> Float32:
    """[columns of x] share of each value among the users who have one; 0 outside of categories."""
    shares, start = [], 0
    for block in prepared.layout.blocks:
        found = np.zeros(columns_of(block))
        if block.kind == BlockKind.CATEGORY:
            codes = prepared.rows[:, start]
            counts = np.bincount(codes[~np.isnan(codes)].astype(np.int64), minlength=block.categories)
            found = counts / max(counts.sum(), 1)
        shares.append(found)
        start += block.width
    return np.concatenate(shares).astype(np.float32)


def _directions(inputs: TrainingInputs, builder: RowBuilder, config: ForecastConfig, progress: Progress) -> Directions:
    halves = Halves(builder.builder)
    if builder.layout.modalities:
        for chunk in inputs.chunks(progress, "comparing halves of histories"):
            halves.add(builder.batcher.arrays(chunk, inputs.as_of_us))
    return halves.directions(config.directions, config.noise)


def _moments(prepared: PreparedRows, rows: StandardRows, progress: Progress) -> CrossMoments:
    """Moments of x over the users with behaviour; over all where these are too few."""
    active, others = CrossMoments(rows.columns), CrossMoments(rows.columns)
    done = 0
    for part in prepared.chunks():
        x, has = rows.standardised(part), rows.events(part) > 0
        active.add(x[has])
        others.add(x[~has])
        done += len(part)
        progress("summing blocks", done, len(prepared.rows))
    return active if active.count >= FEWEST else active + others


def _forecast(
    inputs: TrainingInputs,
    builder: RowBuilder,
    rows: StandardRows,
    parts: Parts,
    known: Float64,
    directions: Directions,
    config: ForecastConfig,
    progress: Progress,
) -> tuple[Float64, float]:
    """[y, forecasts] weighted coefficients, and the share of variance that held-out users kept; 1 for no forecast."""
    nothing = np.zeros((len(known), 0)), 1.0
    horizons = horizons_of(inputs, config.horizons_days)
    cuts = past_cuts(inputs, horizons[-1], config.cuts) if horizons else []
    if not cuts or not (config.future_weight or config.next_weight):
        return nothing
    # A field is known as it is now, which may tell what came after the cut: nothing is forecast from it.
    told = np.flatnonzero(~parts.field)
    _, axes = principal(known[np.ix_(told, told)], min(COMPONENTS, len(told)))
    basis = np.zeros((len(known), axes.shape[1]))
    basis[told] = axes
    compressed = (parts.matrix @ basis).astype(np.float32)
    width = future_width(horizons, builder.layout.actions) + len(directions)
    fitted, held = CrossMoments(compressed.shape[1], width), CrossMoments(compressed.shape[1], width)
    every = round(1 / config.held_out)
    longest_window = builder.layout.windows_days[-1] * DAY_US
    seen = 0
    for chunk in inputs.chunks(progress, "looking at what came after"):
        aside = (np.arange(len(chunk)) + seen) % every == 0
        seen += len(chunk)
        whole_since = _whole_since(builder, chunk, inputs.as_of_us)
        for cut in cuts:
            row = builder.build(chunk, cut)
            there = ~np.isnan(row).all(axis=1) & (whole_since <= cut - longest_window)
            x = rows.standardised(row[there]) @ compressed
            t = _future(builder, chunk, cut, horizons, directions)[there]
            fitted.add(x[~aside[there]], t[~aside[there]])
            held.add(x[aside[there]], t[aside[there]])
    both = fitted + held
    if both.count < FEWEST:
        return nothing
    variance = both.variance
    numbers = len(variance) - len(directions)
    deviation = np.sqrt(np.where(variance > 1e-12, variance, np.inf))
    weights = np.concatenate(
        [
            np.sqrt(config.future_weight / max(numbers, 1)) / deviation[:numbers],
            np.full(len(directions), np.sqrt(config.next_weight)),
        ]
    )
    tried = ridge(fitted.covariance, fitted.cross, config.ridge)
    kept = held.variance - 2 * (tried * held.cross).sum(axis=0) + (tried * (held.covariance @ tried)).sum(axis=0)
    unforecast = float((kept * weights**2).sum() / max(float((held.variance * weights**2).sum()), 1e-12))
    return basis @ ridge(both.covariance, both.cross, config.ridge) * weights, unforecast


def _whole_since(builder: RowBuilder, chunk: pa.Table, as_of: int) -> Int64:
    """[n] times since when nothing is missing in a user's history: a full one has lost its oldest events.

    Before an early cut it looks like that of a lesser user, who would then seem to do a lot.
    """
    events = builder.batcher.arrays(chunk, as_of).events
    services = int(events.service.max(initial=UNKNOWN)) + 2
    history = events.user * services + events.service + 1  # events of services that are not known count together
    count = np.bincount(history, minlength=len(chunk) * services)
    oldest = np.full(len(count), np.iinfo(np.int64).max)
    np.minimum.at(oldest, history, events.time)
    since = np.where(count >= builder.batcher.schema.history_length, oldest, NO_TIME)
    latest: Int64 = since.reshape(len(chunk), services).max(axis=1)
    return latest


def _future(builder: RowBuilder, chunk: pa.Table, cut: int, horizons: list[int], directions: Directions) -> Float32:
    users = builder.batcher.arrays(chunk, cut + horizons[-1] * DAY_US)
    numbers = future_numbers(users, cut, horizons, builder.layout.actions)
    if not len(directions):
        return numbers
    items = future_items(users, cut, horizons[-1], builder.builder) @ directions.matrix.astype(np.float32)
    return np.concatenate([numbers, items], axis=1)


def _cold(everybody: CrossMoments, told: Float64, behaviour: np.ndarray, config: ForecastConfig) -> Float64:
    """[columns of x, dimension] what profile and picks tell of the vector's part that comes from behaviour."""
    cold = np.zeros_like(told)
    static = np.flatnonzero(~behaviour)
    if len(static) and behaviour.any():
        covariance = everybody.covariance
        cross = covariance[np.ix_(static, np.flatnonzero(behaviour))] @ told[behaviour]
        cold[static] = ridge(covariance[np.ix_(static, static)], cross, config.ridge)
    return cold
