"""Blocks of hand-made features against a count by hand."""

import numpy as np
import pyarrow as pa
import pytest

from portrait.training.baselines.bags import Bags
from portrait.training.baselines.window_counts import LONG_AGO
from portrait.training.evaluation.suites.cost.blocks import (
    CuratedFeatures,
    CuratedMethod,
    Habits,
    HandMadeBlock,
    Hours,
    Shares,
    TopItems,
    Windows,
)
from portrait.training.evaluation.suites.cost.consumers import DATA_SETS
from tests.training.example import AS_OF_US, DAY, inputs, population

USERS = population(60)
BAGS = Bags.over(inputs(USERS))
ROWS = USERS.to_pylist()


def column(block: HandMadeBlock, name: str, users: pa.Table = USERS) -> np.ndarray:
    features = CuratedFeatures(BAGS, (block,))
    return features.matrix(users, AS_OF_US)[:, features.names.index(name)]


def test_windows_of_one_service_count_its_events_alone() -> None:
    by_hand = [
        sum(s == "shop" and t >= AS_OF_US - 30 * DAY for s, t in zip(row["services"], row["event_times"], strict=True))
        for row in ROWS
    ]
    np.testing.assert_allclose(np.expm1(column(Windows("shop"), "shop_events_30")), by_hand, rtol=1e-5)
    everything = [len(row["services"]) for row in ROWS]
    np.testing.assert_allclose(np.expm1(column(Windows(), "events_all")), everything, rtol=1e-5)
    shopless = [place for place, row in enumerate(ROWS) if "shop" not in row["services"]]
    assert shopless and (column(Windows("shop"), "shop_since_last")[shopless] == np.float32(LONG_AGO)).all()
    assert (column(Windows("books"), "books_events_all") == 0).all()


def test_shares_are_of_the_window() -> None:
    by_hand = []
    for row in ROWS:
        near = [s for s, t in zip(row["services"], row["event_times"], strict=True) if t >= AS_OF_US - 30 * DAY]
        by_hand.append(near.count("music") / max(len(near), 1))
    np.testing.assert_allclose(column(Shares(30), "share_service_music_30d"), by_hand, rtol=1e-5)
    summed = column(Shares(), "share_action_view_all") + column(Shares(), "share_action_buy_all")
    active = np.array([len(row["services"]) > 0 for row in ROWS])
    np.testing.assert_allclose(summed, active, rtol=1e-5)


def test_top_items_count_the_most_used_ones() -> None:
    service, _, item = BAGS.items.values[0].partition("\x1f")
    by_hand = [list(zip(row["services"], row["item_ids"], strict=True)).count((service, item)) for row in ROWS]
    assert sum(by_hand) > 5
    np.testing.assert_allclose(np.expm1(column(TopItems(5), "item_1_all")), by_hand, rtol=1e-5)


def test_habits_of_gaps_and_weights() -> None:
    weights = [float(np.mean(row["weights"])) if row["weights"] else 0.0 for row in ROWS]
    np.testing.assert_allclose(np.expm1(column(Habits(), "weight_mean")), weights, rtol=1e-4)
    gaps = [max(np.diff(row["event_times"]), default=0) / DAY for row in ROWS]
    np.testing.assert_allclose(np.expm1(column(Habits(), "days_between_greatest")), gaps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_five_teams_of_ten_to_sixty_finite_numbers(data_set: str) -> None:
    assert len(DATA_SETS[data_set]) == 5
    for _, blocks in DATA_SETS[data_set].values():
        features = CuratedMethod(blocks=blocks).features(inputs(USERS), seed=0)
        found = features.matrix(USERS, AS_OF_US)
        assert found.shape == (60, len(features.names)) and found.dtype == np.float32 and np.isfinite(found).all()
        assert 10 <= len(set(features.names)) == len(features.names) <= 60
        assert all(name.isidentifier() for name in features.names)


def test_nothing_is_known_of_events_from_the_as_of_on() -> None:
    blocks = (Windows(), Windows("shop"), Shares(30), TopItems(5, 90), Hours(), Habits())
    features = CuratedFeatures(BAGS, blocks)
    early = AS_OF_US - 40 * DAY
    kept = [[t < early for t in row["event_times"]] for row in ROWS]
    lists = ("services", "item_ids", "actions", "weights", "event_times", "event_ids")
    cut = USERS
    for name in lists:
        values = [
            [v for v, k in zip(row, flags, strict=True) if k]
            for row, flags in zip(USERS[name].to_pylist(), kept, strict=True)
        ]
        cut = cut.set_column(cut.column_names.index(name), cut.schema.field(name), pa.array(values, cut[name].type))
    np.testing.assert_array_equal(features.matrix(USERS, early), features.matrix(cut, early))
