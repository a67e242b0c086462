"""The measured reader: it reads the stored vectors for every consumer, and computes none."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
import pytest

from portrait.feature_repo.declaration.views import embedding_view, view_name
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.measured_instance import MeasuredInstance
from portrait.registry.errors import NotFound, Unavailable
from portrait.serving.reads.embedding_batch import EmbeddingBatch
from portrait.serving.reads.measured_reader import MeasuredReader
from portrait.training.evaluation.suites.cost.models import MeasuredModel

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
USERS = ["u1", "u2", "u3"]
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
VERSION = MeasuredModel("v", "autoencoder", "print", 4, "nowhere", 0.0).as_version()


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[MeasuredReader]:
    settings = FeatureSettings(home=tmp_path / "home", online_store_url="", feast_registry_url="", registry_url="")
    own = MeasuredInstance(settings, tmp_path / "own", "own_vectors", USERS)
    own.begin([embedding_view(own.folder, VERSION)], [])
    times = np.full(3, int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000)
    own.online.write_vectors(own.config, view_name(VERSION.id), USERS, VECTORS, np.arange(3), times, int(times[0]))
    yield MeasuredReader(own, VERSION, ["one", "two"])
    own.remove()


def test_every_consumer_reads_the_stored_vector(reader: MeasuredReader) -> None:
    for consumer in ("one", "two"):
        answer = reader.read(consumer, "u2")
        assert isinstance(answer, EmbeddingBatch) and (answer.version, answer.fingerprint) == (VERSION.id, "print")
        np.testing.assert_array_equal(answer.vectors, VECTORS[1:2])
    assert reader.nbytes("one", "u2") > len(orjson.dumps(VECTORS[1].tolist()))


def test_what_is_not_there_is_no_figure(reader: MeasuredReader) -> None:
    with pytest.raises(Unavailable, match="no vector is stored for nobody"):
        reader.read("one", "nobody")
    with pytest.raises(NotFound, match="there is no consumer 'three'"):
        reader.read("three", "u1")
