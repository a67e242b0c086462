"""Popularity: the same ranking for everybody, by all events or by the newest (Cremonesi, Koren & Turrin, RecSys'10,
on why no recommender should be shown without it).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from portrait.training.baselines.bags import Bags
from portrait.training.encoding.arrays import DAY_US, UNKNOWN, Float32, Int64
from portrait.training.encoding.vocabulary import Vocabulary
from portrait.training.runs.training_inputs import TrainingInputs

RECENT_DAYS = 30


@dataclass(frozen=True)
class SameForAll:
    """One score for each item, the same for every user."""

    items: Vocabulary
    score: Float32  # [items]

    def scores(self, users: pa.Table, as_of: int | Int64) -> Float32:
        return np.repeat(self.score[None], users.num_rows, axis=0)


class Popularity:
    """Items by the number of users who had them."""

    name = "popularity"

    def fit(self, inputs: TrainingInputs, seed: int) -> SameForAll:
        bags = Bags.over(inputs)
        return SameForAll(bags.items, bags.users_per_item.astype(np.float32))


class RecentPopularity:
    """Items by their events in the last 30 days before the fit's time; all time decides between equals."""

    name = "recent-popularity"

    def fit(self, inputs: TrainingInputs, seed: int) -> SameForAll:
        bags = Bags.over(inputs)
        counts = np.zeros(len(bags.items))
        for table in inputs.tables():
            events = bags.arrays(table, inputs.as_of_us).events
            recent = (events.time >= inputs.as_of_us - RECENT_DAYS * DAY_US) & (events.item != UNKNOWN)
            counts += np.bincount(events.item[recent], minlength=len(bags.items))
        ever = bags.users_per_item / (bags.users_per_item.max() + 1)
        return SameForAll(bags.items, (counts + ever).astype(np.float32))
