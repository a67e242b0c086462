from datetime import UTC, datetime

import pytest

from portrait.registry.errors import NotFound
from portrait.registry.records.evidence_facts import ArtifactFacts, Evidence
from portrait.registry.registry import Registry
from portrait.registry.serving_state.serving_state import read_generation
from tests.registry.factories import new_version, vector_facts


@pytest.fixture
def known(registry: Registry) -> Registry:
    """A registry acting for a job, with two versions without evidence."""
    for run in ("run-1", "run-2"):
        registry.versions.register(new_version(run))
    return registry.acting("job")


def test_there_is_no_evidence_at_first(known: Registry) -> None:
    assert known.evidence.newest("autoencoder-1") == {}


def test_what_was_measured_comes_back_with_who_and_when(known: Registry) -> None:
    artifact, vectors = ArtifactFacts(False, None, "weights are gone"), vector_facts(1000, watermark_lag=0.1)
    before = datetime.now(UTC)
    known.evidence.record("autoencoder-1", artifact, vectors)
    newest = known.evidence.newest("autoencoder-1")
    at = newest["artifact"].measured_at
    assert before <= at <= datetime.now(UTC)
    assert newest == {
        "artifact": Evidence("autoencoder-1", artifact, at, "job"),
        "vectors": Evidence("autoencoder-1", vectors, at, "job"),
    }
    assert known.evidence.newest("autoencoder-2") == {}


def test_the_newest_of_each_kind_counts(known: Registry) -> None:
    known.evidence.record("autoencoder-1", ArtifactFacts(True, "f"), vector_facts(10))
    known.acting("ada").evidence.record("autoencoder-1", vector_facts(20))
    newest = known.evidence.newest("autoencoder-1")
    assert newest["artifact"].facts == ArtifactFacts(True, "f")
    assert (newest["vectors"].facts, newest["vectors"].measured_by) == (vector_facts(20), "ada")


def test_evidence_changes_nothing_that_serving_shows(known: Registry) -> None:
    generation = read_generation(known.database)
    known.evidence.record("autoencoder-1", vector_facts())
    assert read_generation(known.database) == generation


def test_evidence_belongs_to_a_version(known: Registry) -> None:
    with pytest.raises(NotFound, match="no version 'autoencoder-9'"):
        known.evidence.record("autoencoder-9", vector_facts())
    with pytest.raises(NotFound, match="no version 'autoencoder-9'"):
        known.evidence.newest("autoencoder-9")
