"""A study's data: 240 users with planted tastes in two services."""

from pathlib import Path

from portrait.training.clue.config import ClueConfig
from portrait.training.clue.prepare import PreparedSequences, prepare
from tests.training.example import inputs, population

USERS = 240
CONFIG = ClueConfig(dimension=16, vocabulary=300, text_length=12, sequence_length=16, held_out=0.3)


def make(folder: Path) -> PreparedSequences:
    folder.mkdir(parents=True, exist_ok=True)
    prepare(inputs(population(USERS)), CONFIG, folder, lambda *_, **__: None)
    return PreparedSequences(folder)
