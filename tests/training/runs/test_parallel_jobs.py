"""Buckets through Ray Data: rows as they come, and errors of ours as they were."""

from typing import Any

import pytest

from portrait.registry.errors import InvalidInput
from portrait.training.runs.parallel_jobs import on_ray
from portrait.training.settings import TrainingSettings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Doubling:
    """Doubles the buckets, but for one that it refuses."""

    def __init__(self, refused: int) -> None:
        self._refused = refused

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self._refused in batch["bucket"]:
            raise InvalidInput("the column 'age' holds string, 'old' of user 'ann' for instance")
        return {"bucket": batch["bucket"], "double": batch["bucket"] * 2}


def test_rows_and_errors(ray_session: None) -> None:
    settings = TrainingSettings(backfill_workers=1)
    found = {row["bucket"]: row["double"] for row in on_ray(Doubling, -1, [1, 2, 3], settings)}
    assert found == {1: 2, 2: 4, 3: 6}
    with pytest.raises(InvalidInput, match=r"^the column 'age' holds string, 'old' of user 'ann' for instance$"):
        list(on_ray(Doubling, 2, [1, 2, 3], settings))
