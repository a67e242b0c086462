"""A study's data: 240 users with planted tastes in two services."""

from pathlib import Path

from tests.training.example import inputs, population
from training.clue.config import ClueConfig
from training.clue.prepare import Prepared, prepare

USERS = 240
CONFIG = ClueConfig(dimension=16, vocabulary=300, text_length=12, sequence_length=16, held_out=0.3)


def make(folder: Path) -> Prepared:
    folder.mkdir(parents=True, exist_ok=True)
    prepare(inputs(population(USERS)), CONFIG, folder, lambda *_, **__: None)
    return Prepared(folder)
