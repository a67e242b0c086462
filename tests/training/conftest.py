"""Fixtures of the training floor."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from portrait.training.runs.run import TrainedModel
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF, DESCENDING, FAMILIES, inputs, population, train_here


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A small autoencoder. Its artifact is shared: copy it before changing it."""
    settings = TrainingSettings(home=tmp_path_factory.mktemp("training"), num_workers=0)
    return train_here(settings, inputs(population()))


@pytest.fixture(scope="session")
def clue_model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A small CLUE; shared as well."""
    settings = TrainingSettings(home=tmp_path_factory.mktemp("training"), num_workers=0)
    return train_here(settings, inputs(population()), family="clue")


@pytest.fixture(scope="session")
def forecast_model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """A small forecast, with a past long enough for cuts; shared as well."""
    settings = TrainingSettings(home=tmp_path_factory.mktemp("training"), num_workers=0)
    given = replace(inputs(population()), data_from=AS_OF - timedelta(days=400))
    return train_here(settings, given, family="forecast")


@pytest.fixture(params=FAMILIES)
def either(request: pytest.FixtureRequest) -> TrainedModel:
    """A model of each family."""
    model: TrainedModel = request.getfixturevalue(
        "model" if request.param == "autoencoder" else f"{request.param}_model"
    )
    return model


@pytest.fixture(params=DESCENDING)
def descended(request: pytest.FixtureRequest) -> TrainedModel:
    """A model of each family that takes steps."""
    model: TrainedModel = request.getfixturevalue("model" if request.param == "autoencoder" else "clue_model")
    return model


@pytest.fixture
def settings(tmp_path: Path) -> TrainingSettings:
    """Settings of a fresh home, training in this process."""
    return TrainingSettings(home=tmp_path / "home", num_workers=0)
