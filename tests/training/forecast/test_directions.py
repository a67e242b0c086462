"""Directions are those in which the halves of a user agree, however much the noise varies."""

import numpy as np

from portrait.training.blocks.blocks import BlockBuilder, Layout, Pooling
from portrait.training.blocks.item_table import ItemTable
from portrait.training.encoding.arrays import Events, Picks, UserArrays
from portrait.training.forecast.directions import Directions, Halves

ITEMS, WIDTH = 400, 6
TASTE = 0
"""The column of an item's vector in which users have a taste; column 1 varies more, and says nothing of them."""


def found(per_user: int, users: int = 400) -> Directions:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ITEMS, WIDTH)) * [1.0, 3.0, 0.5, 0.5, 0.5, 0.5]
    layout = Layout((7,), (("made", WIDTH),), 0, 0, False, (), (), (), Pooling.ROOT, all_time=True)
    halves = Halves(BlockBuilder(layout, ItemTable((WIDTH,), vectors.astype(np.float32))))
    liking = rng.normal(size=users)
    chances = np.exp(liking[:, None] * vectors[:, TASTE])
    item = np.concatenate([rng.choice(ITEMS, per_user, p=row / row.sum()) for row in chances])
    user, nothing = np.repeat(np.arange(users), per_user), np.zeros(users * per_user, np.int64)
    events = Events(user, item, nothing, nothing, item, np.tile(np.arange(per_user), users), np.ones(len(user)))
    empty = np.empty(0, np.int64)
    halves.add(UserArrays(np.full(users, 10**15), events, Picks(empty, empty), np.zeros(users, np.int64), {}, {}, {}))
    return halves.directions(WIDTH, 0.05)


def test_the_taste_comes_first_though_noise_varies_more() -> None:
    directions = found(per_user=20)
    assert directions.reliability[0] > 0.8 and (np.diff(directions.reliability) <= 0).all()
    first = np.abs(directions.matrix[:, 0])
    assert first.argmax() == TASTE and first[TASTE] > 5 * np.delete(first, TASTE).max()
    assert directions.reliability[1:].max(initial=0) < 0.4


def test_users_with_one_event_have_directions_too() -> None:
    directions = found(per_user=1)
    assert len(directions) and np.abs(directions.matrix[:, 0]).argmax() == 1  # nothing tells noise: most variance first


def test_without_items_there_are_none() -> None:
    layout = Layout((7,), (), 0, 0, False, (), (), ())
    none = Halves(BlockBuilder(layout, ItemTable((), np.empty((0, 0), np.float32)))).directions(8, 0.05)
    assert len(none) == 0 and none.matrix.shape == (0, 0)
