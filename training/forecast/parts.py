"""The parts that a vector is made of: weighted columns y = x B of what is known of a user.

Numbers and categories are taken as they are; item vectors by the directions that tell users apart, for all events, for
the latest, and for each window.
"""

from dataclasses import dataclass

import numpy as np

from portrait.training.blocks.blocks import Block, BlockKind
from portrait.training.blocks.standard_rows import StandardRows
from portrait.training.encoding.arrays import Bool, Float64
from portrait.training.forecast.config import ForecastConfig
from portrait.training.forecast.directions import Directions

SPAN_WEIGHTS = {"all": 1.0, "latest": 0.5, "onboarding": 1.0}
WINDOW_WEIGHT = 0.2
ITEMS_DISTANCE = 3.0  # of all directions together, beside `numbers_distance` of a block of numbers


@dataclass(frozen=True)
class Parts:
    """`matrix` [columns of x, y] with the weights in it; of each column of y, what it counts in a distance, and whether
    it stands for a field.
    """

    matrix: Float64
    distance: Float64
    field: Bool


def parts_of(rows: StandardRows, directions: Directions, config: ForecastConfig) -> Parts:
    """All parts; the variance of a column of y is its weight times the variance of what it stands for."""
    lifted, distances, fields = [], [], []
    spans: dict[str, Float64] = {}
    start = dict.fromkeys((block.span for block, _, _ in rows.of_row), 0)  # of the modality, among all of a span
    for block, of_row, columns in rows.of_row:
        if block.modality:
            lift = spans.setdefault(block.span, np.zeros((rows.columns, len(directions))))
            vectors = slice(start[block.span], start[block.span] + block.width)
            lift[columns] = directions.matrix[vectors] * rows.scale[of_row][:, None]
            start[block.span] = vectors.stop
            continue
        weight, distance = _weights(block, config)
        lifted.append(np.eye(rows.columns)[:, columns] * np.sqrt(weight / block.width))
        distances.append(np.full(columns.stop - columns.start, distance / weight))
        fields.append(np.full(columns.stop - columns.start, block.field))
    item_distance = ITEMS_DISTANCE / max(float(directions.reliability.sum()), 1.0)
    for span, lift in spans.items():
        lifted.append(lift * np.sqrt(SPAN_WEIGHTS.get(span, WINDOW_WEIGHT)))
        distances.append(np.full(len(directions), item_distance))
        fields.append(np.zeros(len(directions), bool))
    return Parts(np.concatenate(lifted, axis=1), np.concatenate(distances), np.concatenate(fields))


def _weights(block: Block, config: ForecastConfig) -> tuple[float, float]:
    if block.kind == BlockKind.CATEGORY:
        return config.category_weight, config.category_distance
    return config.numbers_weight, config.numbers_distance
