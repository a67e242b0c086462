"""`--set name=value`: validated with the offending name and value."""

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.autoencoder.config import AutoencoderConfig
from portrait.training.runs.config_overrides import assignments, override


def test_values_take_the_type_of_their_field() -> None:
    config = override(
        AutoencoderConfig(), {"epochs": "5", "learning_rate": "3e-4", "hidden": "256, 128", "windows_days": "7"}
    )
    assert (config.epochs, config.learning_rate, config.hidden, config.windows_days) == (5, 3e-4, (256, 128), (7,))
    assert override(AutoencoderConfig(), {}) == AutoencoderConfig()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", "5", "--set epoch=5: there is no 'epoch'; the fields are all_time, .* epochs"),
        ("epochs", "many", "--set epochs=many: 'many' is not one int"),
        ("epochs", "2.5", "--set epochs=2.5: '2.5' is not one int"),
        ("epochs", "-1", "--set epochs=-1 must not be negative"),
        ("learning_rate", "nan", "'nan' is not one float"),
        ("block_dropout", "1.0", r"block_dropout=1.0 must be at least 0 and below 1"),
        ("hidden", "256,x", "'256,x' is not comma-separated ints"),
        ("windows_days", "30,7", r"windows_days=\(30, 7\) must be positive and growing"),
        ("hidden", "0", r"hidden=\(0,\) must name positive widths"),
        ("seed", "-1", "seed=-1 must not be negative"),
        ("weight_decay", "-1", "weight_decay=-1.0 must not be negative"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        override(AutoencoderConfig(), {name: value})


def test_assignments() -> None:
    assert assignments(["epochs=5", "hidden = 64,32"]) == {"epochs": "5", "hidden": "64,32"}
    with pytest.raises(InvalidInput, match="--set epochs: write it as name=value"):
        assignments(["epochs"])
    with pytest.raises(InvalidInput, match="epochs is set to '5' already"):
        assignments(["epochs=5", "epochs=6"])
