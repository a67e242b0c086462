"""The formulas against torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from portrait.training.clue import like_length
from portrait.training.clue.flops import batch_flops, step_flops, token_flops
from portrait.training.clue.gradient_cache import step
from portrait.training.clue.model import Shape
from portrait.training.clue.objective import Contrast
from portrait.training.clue.sizes import SIZES, non_embedding_parameters
from tests.training.clue.example import SHAPE, batch, model


@pytest.mark.parametrize("worth", [like_length.WORTH, 1])
def test_a_step_costs_what_torch_counts(worth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(like_length, "WORTH", worth)  # 1: a group for every length
    users = batch()
    # The counter knows matrix products, but not the CPU's fused attention.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step(model(), Contrast(), users)
    assert batch_flops(SHAPE, users) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_a_token_costs_six_operations_for_every_weight_and_its_attention() -> None:
    size = SIZES["20m"]
    shape = Shape.from_size(size, vocabulary=8, text_length=1, actions=1, sequence_length=1, dimension=4)
    weights = non_embedding_parameters(size) / 2
    assert token_flops(shape, 1) == pytest.approx(6 * weights, rel=0.01)
    assert token_flops(shape, 65) - token_flops(shape, 1) == 12 * size.layers * size.width * 64


def test_a_step_grows_with_each_of_its_parts() -> None:
    base = step_flops(SHAPE, items=10, tokens=6, sequences=8, events=9)
    assert (
        base == 10 * 6 * token_flops(SHAPE, 6) + 8 * 9 * token_flops(SHAPE, 9) + 6 * 8 * SHAPE.width * SHAPE.dimension
    )
    assert torch.tensor([step_flops(SHAPE, 20, 6, 8, 9), step_flops(SHAPE, 10, 6, 16, 9)]).gt(base).all()
