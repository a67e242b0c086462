"""Two versions side by side: planted relations between their vectors are what the figures say."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from portrait.infra.portrait import Portrait
from portrait.registry.database.tables import EvaluationRow
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.versions.versions import NewVersion
from portrait.training.encoding.artifact import load_prior
from portrait.training.inspection.diff import MeasuredPair, VersionDiff, diff_versions
from portrait.training.inspection.neighbours import held_out_cosine, mean_cosine, nearest, overlap, unit_rows
from tests.instances import USERS
from tests.training.stored import users_of

NOW = datetime(2024, 5, 1, tzinfo=UTC)


def normal(rows: int, columns: int, seed: int) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return drawn


def rotation(dimension: int, seed: int = 9) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))
    rotated: np.ndarray = q.astype(np.float32)
    return rotated


def test_the_nearest_are_the_nearest() -> None:
    unit = unit_rows(normal(300, 6, 0))
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -2)
    expected = np.argsort(-similarity, axis=1)[:, :7]
    assert (np.sort(nearest(unit, 7)) == np.sort(expected)).all()


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = unit_rows(normal(100, 6, 0))
    whole = np.sort(nearest(unit, 5))
    monkeypatch.setattr("portrait.training.inspection.neighbours.BLOCK", 7)
    assert (np.sort(nearest(unit, 5)) == whole).all()


def test_a_rotated_copy_is_the_same_space() -> None:
    a = normal(1500, 20, 1)
    unit_a, unit_b = unit_rows(a), unit_rows(a @ rotation(20))
    assert abs(mean_cosine(unit_a, unit_b)) < 0.1
    assert overlap(unit_a, unit_b, 10) > 0.999
    assert held_out_cosine(unit_a, unit_b) == pytest.approx(1, abs=1e-5)
    mirrored = unit_a * np.array([-1.0] + [1.0] * 19)
    assert held_out_cosine(unit_a, mirrored) == pytest.approx(1)


def test_independent_spaces_have_nothing_in_common_on_users_not_fitted() -> None:
    n = 2000
    unit_a, unit_b = unit_rows(normal(n, 20, 1)), unit_rows(normal(n, 20, 2))
    assert overlap(unit_a, unit_b, 10) == pytest.approx(10 / (n - 1), abs=0.003)
    assert abs(mean_cosine(unit_a, unit_b)) < 0.02
    assert abs(held_out_cosine(unit_a, unit_b) or 1) < 0.05


def test_a_smaller_dimension_is_filled_up() -> None:
    a = normal(1000, 12, 1)
    padded = np.hstack([a, np.zeros((1000, 8), np.float32)]) @ rotation(20)
    assert held_out_cosine(unit_rows(a), unit_rows(padded)) == pytest.approx(1, abs=1e-5)
    assert held_out_cosine(unit_rows(padded), unit_rows(a)) == pytest.approx(1, abs=1e-5)
    assert held_out_cosine(unit_rows(a[:1]), unit_rows(a[:1])) is None


def test_zero_vectors_are_near_to_nothing() -> None:
    a = np.vstack([np.zeros((1, 4), np.float32), normal(5, 4, 0)])
    assert mean_cosine(unit_rows(a), unit_rows(a)) == pytest.approx(5 / 6)


@pytest.fixture
def pair(backfilled: Portrait) -> tuple[Portrait, EmbeddingVersion]:
    """An instance with a backfilled version, and a second one of 24 dimensions without vectors."""
    new = NewVersion(
        family="autoencoder",
        fingerprint="f" * 64,
        dimension=24,
        run="another",
        artifact="artifacts/another",
        snapshot="s",
        data_from=None,
        data_to=NOW,
        feature_schema={},
        config={},
        metrics={"held_out_loss": 0.5},
    )
    other = backfilled.registry.versions.register(new)
    backfilled.repo.apply()
    return backfilled, other


def of(portrait: Portrait, other: EmbeddingVersion, **options: int) -> VersionDiff:
    return diff_versions(portrait.repo, portrait.registry.versions.get("autoencoder-1"), other, **options)


def test_a_rotated_and_scaled_copy(pair: tuple[Portrait, EmbeddingVersion]) -> None:
    portrait, other = pair
    first = portrait.registry.versions.get("autoencoder-1")
    users = users_of(portrait)
    vectors = portrait.repo.read_vectors(first, users).vectors
    copy = 3 * np.hstack([vectors, np.zeros((USERS, 8), np.float32)]) @ rotation(24)
    orders = np.ones(USERS - 30, np.int64), np.ones(USERS - 30, np.int64)
    portrait.repo.write_vectors(other, users[30:], copy[30:], *orders, computed_at=1)

    diff = of(portrait, other)
    prior = load_prior(portrait.settings.home / first.artifact)
    own = (vectors[30:] != prior).any(axis=1)
    norms = np.linalg.norm(vectors[30:][own].astype(np.float64), axis=1)
    assert (diff.users_known, diff.users_sampled, diff.users_compared) == (USERS, USERS, own.sum())
    assert (diff.a.coverage, diff.b.coverage) == (1.0, pytest.approx((USERS - 30) / USERS))
    assert (diff.a.dimension, diff.b.dimension) == (16, 24)
    assert diff.b.metrics == {"held_out_loss": 0.5} and diff.a.metrics == first.metrics
    assert diff.neighbours == 10 and diff.neighbour_overlap is not None and diff.neighbour_overlap > 0.99
    assert diff.cosine_raw is None
    assert diff.cosine_rotated == pytest.approx(1, abs=1e-4)
    assert (diff.a.mean_norm, diff.b.mean_norm) == (pytest.approx(norms.mean()), pytest.approx(3 * norms.mean()))
    assert diff.norm_drift == pytest.approx(2, rel=1e-4)
    assert of(portrait, other) == diff
    assert json.loads(json.dumps(diff.to_json(), allow_nan=False))["b"]["version"] == "autoencoder-2"
    assert of(portrait, other, sample=40).users_sampled == 40
    backwards = diff_versions(portrait.repo, other, first)
    assert backwards.norm_drift == pytest.approx(2 / 3, rel=1e-4) and backwards.cosine_rotated == pytest.approx(1)


def test_with_itself_and_with_a_broken_artifact(pair: tuple[Portrait, EmbeddingVersion]) -> None:
    portrait, _ = pair
    first = portrait.registry.versions.get("autoencoder-1")
    for _ in range(2):
        diff = of(portrait, first)
        assert (diff.neighbour_overlap, diff.norm_drift) == (1.0, 0.0)
        assert diff.cosine_raw == pytest.approx(1) and diff.cosine_rotated == pytest.approx(1)
        (portrait.settings.home / first.artifact / "weights.safetensors").unlink(missing_ok=True)
    assert diff.users_compared == USERS  # priors too: nothing says which they are


@pytest.mark.parametrize("users", [0, 1, 2, 5])
def test_with_few_users_in_common(pair: tuple[Portrait, EmbeddingVersion], users: int) -> None:
    portrait, other = pair
    first = portrait.registry.versions.get("autoencoder-1")
    known = users_of(portrait)
    prior = load_prior(portrait.settings.home / first.artifact)
    own = (portrait.repo.read_vectors(first, known).vectors != prior).any(axis=1)
    chosen = [user for user, counts in zip(known, own, strict=True) if counts][:users]
    orders = np.ones(users, np.int64), np.ones(users, np.int64)
    portrait.repo.write_vectors(other, chosen, normal(users, 24, 0), *orders, computed_at=1)
    diff = of(portrait, other)
    assert (diff.users_compared, diff.neighbours) == (users, max(0, users - 1))
    assert (diff.neighbour_overlap is None) == (diff.cosine_rotated is None) == (users < 2)
    assert (diff.norm_drift is None) == (diff.a.mean_norm is None) == (users == 0)
    json.dumps(diff.to_json(), allow_nan=False)


def test_measurements_stand_side_by_side(pair: tuple[Portrait, EmbeddingVersion]) -> None:
    portrait, other = pair
    first = portrait.registry.versions.get("autoencoder-1")
    for version, metric, stamp, value in (
        (first, "auc", "x", 0.5),
        (first, "auc", "x", 0.75),  # the newest counts
        (other, "auc", "x", 0.25),
        (other, "auc", "y", 0.125),
        (first, "ndcg", None, 0.5),
        (other, "ndcg", None, 0.5),  # nobody knows on which data
    ):
        row = EvaluationRow(version=version.id, fingerprint=version.fingerprint, task="churn", metric=metric)
        row.value, row.as_of, row.created_at, row.data_stamp = value, NOW, NOW, stamp
        with portrait.database.transaction() as session:
            session.add(row)
    assert of(portrait, other).measured == (
        MeasuredPair("churn", "auc", "x", 0.75, 0.25),
        MeasuredPair("churn", "auc", "y", None, 0.125),
        MeasuredPair("churn", "ndcg", None, 0.5, None),
        MeasuredPair("churn", "ndcg", None, None, 0.5),
    )


def test_a_version_whose_view_is_gone(pair: tuple[Portrait, EmbeddingVersion]) -> None:
    portrait, other = pair
    with portrait.repo.online._get_conn(portrait.repo.config) as connection:
        connection.execute('DROP TABLE "portrait_user_embedding__autoencoder_2"')
    diff = of(portrait, other)
    assert (diff.b.coverage, diff.users_compared, diff.cosine_rotated) == (0.0, 0, None)
