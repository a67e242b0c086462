"""Another family joins by a class and a line: nothing outside it knows it."""

import pytest

from portrait.registry.errors import NotFound
from portrait.training.encoding import families
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import train
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF_US, inputs, population


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
