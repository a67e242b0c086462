"""Sequences and the buckets of time."""

import torch

from portrait.training.clue.batch import GAPS, gap_bucket
from tests.training.clue.example import batch

HOUR, DAY = 3600, 86_400


def test_gaps_fall_into_buckets_that_double() -> None:
    seconds = torch.tensor([-1, 0, 1, 2, 3, 6, 7, HOUR, DAY, 7 * DAY, 2**30 - 2, 2**30 - 1, 2**62])
    assert gap_bucket(seconds).tolist() == [0, 1, 2, 2, 3, 3, 4, 12, 17, 20, 30, 31, 31]
    assert gap_bucket(torch.tensor([0.25, 0.999, 1.0])).tolist() == [1, 1, 2]
    assert gap_bucket(seconds).max() == GAPS - 1
    assert gap_bucket(seconds, gaps=5).tolist() == [0, 1, 2, 2, 3, 3, *[4] * 7]


def test_rows_of_sequences_are_the_same_users_in_every_tensor() -> None:
    first = batch().first
    for rows in (slice(3, 5), torch.tensor([4, 0])):
        some = first[rows]
        assert len(some) == 2
        assert torch.equal(some.items, first.items[rows])
        assert torch.equal(some.actions, first.actions[rows])
        assert torch.equal(some.gaps, first.gaps[rows])


def test_a_whole_batch_moves() -> None:
    moved = batch().to("meta")
    assert moved.users is not None and moved.categories is not None
    tensors = [moved.tokens, moved.users, moved.categories]
    tensors += [getattr(view, name) for view in (moved.first, moved.second) for name in ("items", "actions", "gaps")]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
