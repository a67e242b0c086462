"""The config of CLUE: what it accepts, and what it refuses."""

from dataclasses import asdict

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.family import ClueFamily
from portrait.training.clue.sizes import SIZES


def test_the_size_says_what_is_not_said() -> None:
    size = SIZES["7m"]
    config = ClueConfig(size="7m")
    assert (config.shape, config.users_per_step, config.rate) == (size, size.batch, size.learning_rate)
    config = ClueConfig(size="7m", batch_size=32, learning_rate=1e-4)
    assert (config.users_per_step, config.rate) == (32, 1e-4)


def test_a_config_comes_back_from_its_json() -> None:
    family = ClueFamily()
    config = family.configure({"size": "nano", "objective": "same_service", "learning_rate": "0.01", "epochs": "0"})
    assert family.config_from_json(asdict(config)) == config
    assert (config.size, config.objective, config.learning_rate, config.epochs) == ("nano", "same_service", 0.01, 0)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("size=huge", "size=huge is none of pico, nano, micro"),
        ("objective=guess", "objective=guess is none of cross_service, same_service, category"),
        ("dimension=0", "dimension=0 must be positive"),
        ("text_length=0", "text_length=0 must be positive"),
        ("sequence_length=-1", "sequence_length=-1 must be positive"),
        ("epoch_steps=0", "epoch_steps=0 must be positive"),
        ("patience=0", "patience=0 must be positive"),
        ("epochs=-1", "epochs=-1 must not be negative"),
        ("seed=-1", "seed=-1 must not be negative"),
        ("chunk=-1", "chunk=-1 must not be negative"),
        ("learning_rate=-1", "learning_rate=-1.0 must not be negative"),
        ("batch_size=1", "batch_size=1 must be 0 or at least 2"),
        ("batch_size=-4", "batch_size=-4 must be 0 or at least 2"),
        ("most_users=1", "most_users=1 must be 0 or at least 2"),
        ("vocabulary=256", "vocabulary=256 must be at least 257"),
        ("categories=1", "categories=1 must be at least 2"),
        ("candidates=1", "candidates=1 must be at least 2"),
        ("held_out=1", "held_out=1.0 must be at least 0 and below 1"),
        ("layers=3", "there is no 'layers'; the fields are batch_size"),
        ("epochs=many", "'many' is not one int"),
    ],
)
def test_what_cannot_work_is_named(override: str, said: str) -> None:
    name, value = override.split("=")
    with pytest.raises(InvalidInput, match=said):
        ClueFamily().configure({name: value})
