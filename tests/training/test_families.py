"""Another family joins by a class and a line: nothing outside it knows it."""

import pytest

from registry.errors import NotFound
from tests.training.example import AS_OF_US, inputs, population
from training import families
from training.encoder import load_encoder
from training.run import train
from training.settings import TrainingSettings


def test_another_family_trains_and_encodes(settings: TrainingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "stub", "tests.training.stub_family:StubFamily")
    model = train("stub", ["dimension=2"], inputs(population()), settings)
    assert model.family == "stub" and model.run.startswith("stub-") and model.dimension == 2
    encoder = load_encoder(model.path, model.fingerprint)
    vectors = encoder.encode(population(), AS_OF_US)
    assert vectors.shape == (120, 2) and (vectors[7] == encoder.prior).all() and (vectors[0] != encoder.prior).any()
    assert encoder.window_days == ()


def test_an_unknown_family_is_named() -> None:
    with pytest.raises(NotFound, match="no model family 'clew'"):
        families.get("clew")
