"""The table of item vectors: it grows without moving what is there, and without a copy each time."""

import torch

from portrait.training.encoding.later_items import FIRST_ROOM, GrowingRows


def rows(count: int, first: int = 0) -> torch.Tensor:
    return torch.arange(first, first + count, dtype=torch.float32)[:, None] * torch.ones(3)


def test_a_table_grows_and_the_shorter_one_stays() -> None:
    table = GrowingRows(rows(5))
    longer = table.grown(rows(2, 5))
    longest = longer.grown(rows(300, 7))
    assert (len(table), len(longer), len(longest)) == (5, 7, 307)
    for one in (table, longer, longest):
        torch.testing.assert_close(one.rows, rows(len(one)), rtol=0, atol=0)


def test_room_is_made_seldom() -> None:
    table, places = GrowingRows(rows(4000)), set()
    for n in range(1000):
        table = table.grown(rows(1, 4000 + n))
        places.add(table.rows.data_ptr())
    assert len(places) == 2  # 4000 / 8 = 500 at a time
    torch.testing.assert_close(table.rows, rows(5000), rtol=0, atol=0)
    assert 5000 * 3 * 4 <= table.nbytes <= 1.13 * 5000 * 3 * 4


def test_without_a_trained_item() -> None:
    table = GrowingRows(torch.empty(0, 3))
    assert table.grown(rows(1)).nbytes == FIRST_ROOM * 3 * 4 and len(table.grown(rows(1))) == 1
