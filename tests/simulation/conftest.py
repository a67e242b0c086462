"""What a schedule changes in its process is put back for the tests after it."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """The schedules' own listener on Portrait's log ends with the test: others look for warnings in it."""
    logger = logging.getLogger("portrait")
    before = logger.handlers, logger.propagate, logger.level
    yield
    logger.handlers, logger.propagate = before[0], before[1]
    logger.setLevel(before[2])
