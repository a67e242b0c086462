"""The parts that a vector is made of: weighted columns y = x B of what is known of a user.

Numbers and categories are taken as they are; item vectors by the directions that tell users apart, for all events, for
the latest, and for each window.
"""

from dataclasses import dataclass

import numpy as np

from portrait.training.blocks.blocks import Block, BlockKind, Layout
from portrait.training.blocks.standard_rows import StandardRows
from portrait.training.encoding.arrays import Float64
from portrait.training.forecast.config import ForecastConfig
from portrait.training.forecast.directions import Directions

ALL, LATEST, ONBOARDING = "all", "latest", "onboarding"
SPAN_WEIGHTS = {ALL: 1.0, LATEST: 0.5, ONBOARDING: 1.0}
WINDOW_WEIGHT = 0.2
ITEMS_DISTANCE = 3.0  # of all directions together, beside `numbers_distance` of a block of numbers


@dataclass(frozen=True)
class Parts:
    """`matrix` [columns of x, y] with the weights in it, and `distance` [y]: what a column counts in a distance."""

    matrix: Float64
    distance: Float64


def parts_of(rows: StandardRows, layout: Layout, directions: Directions, config: ForecastConfig) -> Parts:
    """All parts; the variance of a column of y is its weight times the variance of what it stands for."""
    lifted, distances = [], []
    of_block = {block.name: (block, columns) for block, _, columns in rows.of_row}
    for block, columns in of_block.values():
        if block.kind == BlockKind.VECTOR and _is_pooled(block, layout):
            continue
        weight, distance = _weights(block, config)
        lifted.append(_unit(rows.columns, columns) * np.sqrt(weight / block.width))
        distances.append(np.full(columns.stop - columns.start, distance / weight))
    item_distance = ITEMS_DISTANCE / max(float(directions.reliability.sum()), 1.0)
    for span in _spans(layout):
        lift = np.zeros((rows.columns, len(directions)))
        start = 0
        for modality, width in layout.modalities:
            name = f"{modality}.{span}"
            of_row = next(part for block, part, _ in rows.of_row if block.name == name)
            lift[of_block[name][1]] = directions.matrix[start : start + width] * rows.scale[of_row][:, None]
            start += width
        lifted.append(lift * np.sqrt(SPAN_WEIGHTS.get(span, WINDOW_WEIGHT)))
        distances.append(np.full(len(directions), item_distance))
    return Parts(np.concatenate(lifted, axis=1), np.concatenate(distances))


def _spans(layout: Layout) -> list[str]:
    """Names of the pooled blocks without their modality."""
    if not layout.modalities:
        return []
    first = layout.modalities[0][0]
    names = [block.name for block in layout.blocks if _is_pooled(block, layout)]
    return [name.partition(".")[2] for name in names if name.startswith(f"{first}.")]


def _is_pooled(block: Block, layout: Layout) -> bool:
    modality, dot, _ = block.name.partition(".")
    return bool(dot) and block.kind == BlockKind.VECTOR and modality in dict(layout.modalities)


def _weights(block: Block, config: ForecastConfig) -> tuple[float, float]:
    if block.kind == BlockKind.CATEGORY:
        return config.category_weight, config.category_distance
    return config.numbers_weight, config.numbers_distance


def _unit(columns: int, chosen: slice) -> Float64:
    lift: Float64 = np.eye(columns)[:, chosen]
    return lift
