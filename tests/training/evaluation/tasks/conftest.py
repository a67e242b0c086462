"""An instance with generated users and their labels, and everything that tasks are built from."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.training.evaluation.tasks.task_data import TaskData

if TYPE_CHECKING:
    from portrait.infra.portrait import Portrait


@pytest.fixture(scope="module")
def instance(registered_home: Path, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Portrait]":
    """300 generated users with the version autoencoder-1, and their labels; shared by a file's tests."""
    from tests.instances import labelled_copy_of

    with labelled_copy_of(registered_home, tmp_path_factory.mktemp("tasks")) as portrait:
        yield portrait


@pytest.fixture(scope="module")
def data(instance: "Portrait") -> TaskData:
    """The data of tasks."""
    return TaskData(instance.repo)


@pytest.fixture(scope="module")
def events(instance: "Portrait") -> pa.Table:
    """The canonical events that the instance has taken in."""
    from portrait.infra import generator
    from tests.instances import USERS

    folder = instance.settings.home.parent / "again"
    return pq.read_table(generator.generate(folder, users=USERS).events)
