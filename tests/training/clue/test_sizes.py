"""Sizes of models."""

from itertools import pairwise

import pytest

from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.sizes import SIZES, Size, non_embedding_parameters
from portrait.training.clue.transformer import Transformer

# The last is called 125M, but the feed-forward width it is published with makes 104 million.
PUBLISHED = {"1.7m": 1.7e6, "7m": 7e6, "20m": 20e6, "64m": 64e6, "125m": 104.5e6}


@pytest.mark.parametrize("name", ["pico", "nano", "micro", "mini", "1.7m"])
def test_the_weights_of_both_transformers_are_counted(name: str) -> None:
    size = SIZES[name]
    model = Clue(Shape.from_size(size, vocabulary=8, text_length=2, actions=1, sequence_length=2, dimension=4))
    transformers = [module for module in model.modules() if isinstance(module, Transformer)]
    assert len(transformers) == 2
    counted = sum(weight.numel() for module in transformers for weight in module.parameters())
    assert non_embedding_parameters(size) == counted


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_sizes_have_the_parameters_of_their_name(name: str) -> None:
    one_transformer = non_embedding_parameters(SIZES[name]) / 2
    assert one_transformer + 50_000 * SIZES[name].width == pytest.approx(PUBLISHED[name], rel=0.06)


def test_sizes_grow_and_nano_is_far_below_the_smallest_published_one() -> None:
    counts = {name: non_embedding_parameters(size) for name, size in SIZES.items()}
    assert (counts["pico"], counts["nano"], counts["mini"]) == (8_352, 33_088, 525_568)
    assert counts["nano"] + 8_192 * SIZES["nano"].width < 0.3e6
    # "1.7m" is narrower than "micro" and "mini": its name comes from its vocabulary.
    assert all(counts[small] < counts[large] for small, large in pairwise(["pico", "nano", "1.7m", "micro", "mini"]))
    assert all(counts[small] < counts[large] for small, large in pairwise(PUBLISHED))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="heads=3 do not divide width=32"):
        Size(2, 32, 3, 64, 256, 1e-3, 1e-2)
