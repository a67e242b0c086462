"""Evidence: what is planted into artifact, vectors and log is what the facts say."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from portrait.feature_repo.ingest.ingest import ingest
from portrait.feature_repo.schemas import microseconds
from portrait.infra.portrait import Portrait
from portrait.registry.records.evidence_facts import ArtifactFacts, VectorFacts, to_json
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.artifact import load_prior
from portrait.training.inspection.inspection import (
    collapsed_dimensions,
    inspect_artifact,
    inspect_vectors,
    inspect_version,
    watermark_lag,
)
from portrait.training.runs.run import TrainedModel
from tests.instances import USERS, embedded
from tests.training.stored import online, users_of

LATER = 10**9  # a position that wins over every other


def version_of(portrait: Portrait) -> EmbeddingVersion:
    return portrait.registry.versions.get("autoencoder-1")


def put(portrait: Portrait, users: list[str], vectors: np.ndarray, as_of: int | None = None) -> None:
    """Store vectors over what there is; through the store itself, which refuses nothing."""
    version, repo = version_of(portrait), portrait.repo
    time = microseconds(version.last_as_of) if as_of is None else as_of
    orders = np.full(len(users), LATER), np.full(len(users), time)
    view = "user_embedding__autoencoder_1"
    assert version.last_as_of is not None
    won = repo.online.write_vectors(repo.config, view, users, vectors.astype(np.float32), *orders, computed_at=1)
    assert won == len(users)


def test_a_healthy_version(backfilled: Portrait) -> None:
    version, steps = version_of(backfilled), []
    before = online(backfilled)
    artifact, vectors = inspect_version(
        backfilled.repo, version, progress=lambda _step, done, total, _note="": steps.append((done, total))
    )
    assert artifact == ArtifactFacts(True, version.fingerprint, "")
    norms = np.linalg.norm(np.frombuffer(before.vectors, np.float32).reshape(USERS, -1).astype(np.float64), axis=1)
    assert vectors == VectorFacts(
        users_known=USERS,
        users_sampled=USERS,
        users_embedded=USERS,
        not_finite=0,
        norm_median=pytest.approx(np.median(norms)),
        norm_largest=pytest.approx(norms.max()),
        collapsed_dimensions=0,
        dimension=16,
        priors=vectors.priors,
        watermark_lag=0.0,
        refresh_lag=0.0,
        users_behind=0,
    )
    assert vectors.priors < USERS / 10
    assert steps == [(USERS, USERS)]
    json.dumps([to_json(artifact), to_json(vectors)], allow_nan=False)
    backfilled.registry.evidence.record(version.id, artifact, vectors)
    assert backfilled.registry.evidence.newest(version.id)["vectors"].facts == vectors
    assert online(backfilled) == before


def test_a_sample_is_drawn_where_there_are_more(backfilled: Portrait) -> None:
    version = version_of(backfilled)
    _, vectors = inspect_version(backfilled.repo, version, sample=50)
    assert (vectors.users_known, vectors.users_sampled, vectors.users_embedded) == (USERS, 50, 50)
    assert inspect_version(backfilled.repo, version, sample=50)[1] == vectors


def test_unhealthy_vectors(backfilled: Portrait) -> None:
    """Five priors, three vectors that are not finite, two dimensions that are the same for everybody, one user less."""
    users, version = users_of(backfilled), version_of(backfilled)
    prior = load_prior(backfilled.settings.home / version.artifact)
    vectors = np.random.default_rng(0).normal(size=(USERS, 16)).astype(np.float32)
    vectors[:, 3] = 0.25
    vectors[:, 9] = 1 + 1e-4 * vectors[:, 9]
    vectors[10:15] = prior
    vectors[20, 0], vectors[21, 1], vectors[22, 2] = np.nan, np.inf, -np.inf
    vectors[30] = 1000
    put(backfilled, users[:-1], vectors[:-1])
    with backfilled.repo.online._get_conn(backfilled.repo.config) as connection:
        key = connection.execute(
            'SELECT entity_key FROM "portrait_user_embedding__autoencoder_1" WHERE position <> ?', (LATER,)
        ).fetchone()[0]
        connection.execute('DELETE FROM "portrait_user_embedding__autoencoder_1" WHERE entity_key = ?', (key,))
    vectors[30, [3, 9]] = 0.25, 1
    put(backfilled, users[30:31], vectors[30:31], microseconds(version.last_as_of) + 1)
    _, facts = inspect_version(backfilled.repo, version)
    assert (facts.users_known, facts.users_embedded, facts.priors, facts.not_finite) == (USERS, USERS - 1, 5, 3)
    assert facts.collapsed_dimensions == 2
    kept = np.delete(vectors[:-1], [20, 21, 22], axis=0).astype(np.float64)
    norms = np.linalg.norm(kept, axis=1)
    assert facts.norm_median == pytest.approx(np.median(norms))
    assert facts.norm_largest == pytest.approx(norms[27]) and facts.norm_largest > 3000
    json.dumps(asdict(facts), allow_nan=False)
    # Where nothing says which vectors are priors, they count among those that have to differ.
    assert inspect_vectors(backfilled.repo, version, None) == replace(facts, priors=0, collapsed_dimensions=1)


def test_collapsed_dimensions() -> None:
    vectors = np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32)
    assert not collapsed_dimensions(vectors).any()
    vectors[:, 0] *= np.float32(1e-5)
    vectors[:, 1] = 7
    assert np.flatnonzero(collapsed_dimensions(vectors)).tolist() == [0, 1]
    vectors[:, 2:9] *= np.float32(1e-6)  # now they are the majority
    assert np.flatnonzero(collapsed_dimensions(vectors)).tolist() == list(range(9))
    vectors[:] = vectors[0]
    assert collapsed_dimensions(vectors).all()
    assert not collapsed_dimensions(vectors[:1]).any() and not collapsed_dimensions(vectors[:0]).any()


def test_news_that_the_vectors_do_not_know(backfilled: Portrait, tmp_path: Path) -> None:
    version = version_of(backfilled)
    watermark = backfilled.log.watermark()
    assert watermark is not None and version.last_as_of is not None
    users = users_of(backfilled)[:3]
    times = [watermark + timedelta(hours=2), watermark + timedelta(hours=5), watermark - timedelta(days=9)]
    events = pa.table({"user_id": users, "item_id": ["music-0001"] * 3, "event_time": times})
    pq.write_table(events, tmp_path / "events.parquet")
    assert ingest(backfilled.log, tmp_path / "events.parquet").events.accepted == 3
    _, facts = inspect_version(backfilled.repo, version)
    assert facts.watermark_lag == pytest.approx(5 * 3600, abs=1e-3)
    assert (facts.users_behind, facts.refresh_lag) == (0, 0.0)  # the online histories have not heard of them yet
    backfilled.repo.publish()
    _, facts = inspect_version(backfilled.repo, version)
    assert facts.users_behind == 3  # one of them by an event that came late
    assert facts.refresh_lag == pytest.approx(5 * 3600, abs=1e-3)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Portrait]:
    """An instance that has taken nothing in."""
    with Portrait.prepare(embedded(tmp_path / "empty")) as portrait:
        yield portrait


def test_without_vectors_views_or_users(registered: Portrait, empty: Portrait, model: TrainedModel) -> None:
    version = version_of(registered)
    none = VectorFacts(USERS, USERS, 0, 0, 0.0, 0.0, 0, 16, 0, watermark_lag(registered.repo, version), 0.0, 0)
    assert none.watermark_lag > 30 * 86_400  # the whole log
    assert inspect_version(registered.repo, version)[1] == none
    with registered.repo.online._get_conn(registered.repo.config) as connection:
        connection.execute('DROP TABLE "portrait_user_embedding__autoencoder_1"')
    assert inspect_version(registered.repo, version)[1] == none
    never_applied = replace(version, artifact=str(model.path), fingerprint=model.fingerprint, dimension=8)
    artifact, vectors = inspect_version(empty.repo, never_applied)
    assert artifact.loads
    assert vectors == VectorFacts(0, 0, 0, 0, 0.0, 0.0, 0, 8, 0, 0.0, 0.0, 0)


def test_a_broken_artifact_is_a_fact(backfilled: Portrait) -> None:
    version = version_of(backfilled)
    healthy = inspect_version(backfilled.repo, version)[1]
    weights = backfilled.settings.home / version.artifact / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\x80\x3f")
    artifact, vectors = inspect_version(backfilled.repo, version)
    assert not artifact.loads
    assert artifact.fingerprint not in (None, version.fingerprint)
    assert artifact.problem.startswith(f"{weights} was changed after training") and "\n" not in artifact.problem
    assert vectors == replace(healthy, priors=0)
    shutil.rmtree(weights.parent)
    artifact, vectors = inspect_version(backfilled.repo, version)
    assert (artifact.loads, artifact.fingerprint) == (False, None) and "there is no artifact at" in artifact.problem
    assert vectors == replace(healthy, priors=0)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"{}", b'{"format": 1, "files": 3, "fingerprint": 4}'])
def test_no_manifest_breaks_it(model: TrainedModel, tmp_path: Path, content: bytes) -> None:
    folder = Path(shutil.copytree(model.path, tmp_path / "artifact"))
    (folder / "manifest.json").write_bytes(content)
    facts, prior = inspect_artifact(folder, model.fingerprint)
    assert (facts.loads, facts.fingerprint, prior) == (False, None, None)
    assert facts.problem


def test_an_artifact_of_another_version(model: TrainedModel) -> None:
    facts, prior = inspect_artifact(model.path, "0" * 64)
    assert (facts.loads, facts.fingerprint, prior) == (False, model.fingerprint, None)
    assert f"has fingerprint {model.fingerprint[:12]}, expected was 000000000000" in facts.problem
