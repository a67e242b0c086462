"""Groups of like length: every row once, little padding, and the results back in order."""

import pytest
import torch
from torch import Tensor

from portrait.training.clue.like_length import WORTH, in_order, of_like_length

LENGTHS = torch.tensor([3, 0, 64, 1, 3, 2, 64, 1] * 200)


def padding(lengths: Tensor, groups: list[tuple[Tensor, int]]) -> int:
    return sum(int((length - lengths[rows].clamp_min(1)).sum()) for rows, length in groups)


@pytest.mark.parametrize("most", [None, 1, 100, 10_000])
def test_every_row_is_in_one_group_that_is_as_long_as_its_longest(most: int | None) -> None:
    groups = list(of_like_length(LENGTHS, most))
    assert torch.cat([rows for rows, _ in groups]).sort().values.equal(torch.arange(len(LENGTHS)))
    for rows, length in groups:
        assert length >= max(int(LENGTHS[rows].max()), 1)
        assert most is None or len(rows) * length <= max(most, length)


def test_a_group_of_its_own_spares_what_it_costs() -> None:
    # 600 rows of 1, 200 of 2, 400 of 3, 400 of 64: those of 2 would spare 200 places, the others far more.
    groups = list(of_like_length(LENGTHS))
    assert [(len(rows), length) for rows, length in groups] == [(600, 1), (600, 3), (400, 64)]
    assert padding(LENGTHS, groups) == 200 < WORTH
    assert len(list(of_like_length(torch.tensor([1, 2, 3, 5])))) == 1


def test_what_was_made_of_the_groups_comes_back_in_order() -> None:
    groups = list(of_like_length(LENGTHS, 100))
    made = [10.0 * LENGTHS[rows] for rows, _ in groups]
    assert in_order(made, [rows for rows, _ in groups]).equal(10.0 * LENGTHS)


def test_no_rows_make_no_group() -> None:
    assert list(of_like_length(torch.zeros(0, dtype=torch.int64))) == []
