"""The difference between two versions: coverage, metrics, and how far their spaces are apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from portrait.feature_repo.online.codec import VectorRows
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import PortraitError
from portrait.registry.progress import Progress, silent
from portrait.registry.records.records import EmbeddingVersion, Evaluation
from portrait.training.encoding.arrays import Bool, Float32
from portrait.training.encoding.artifact import load_prior
from portrait.training.inspection.neighbours import held_out_cosine, mean_cosine, overlap, unit_rows

NEIGHBOURS = 10


@dataclass(frozen=True)
class VersionSide:
    """One of the two compared versions."""

    version: str
    fingerprint: str
    dimension: int
    coverage: float  # share of the sampled users with a stored vector; 0 without users
    metrics: dict[str, float]  # of its own training
    mean_norm: float | None  # over the compared users


@dataclass(frozen=True)
class MeasuredPair:
    """A metric of both versions on the same task and data; None where one was not measured."""

    task: str
    metric: str
    data_stamp: str | None  # which data; values of unknown data stand alone
    a: float | None
    b: float | None


@dataclass(frozen=True)
class VersionDiff:
    """Two versions side by side. What needs users in common is None where there are too few of them."""

    a: VersionSide
    b: VersionSide
    measured: tuple[MeasuredPair, ...]
    users_known: int  # in log and users table
    users_sampled: int
    users_compared: int  # of the sampled, with a vector of their own, no prior, at both
    neighbours: int  # k of the overlap: 10, or all others where they are less
    neighbour_overlap: float | None  # mean share of a user's k nearest, by cosine, that are the same in both
    cosine_raw: float | None  # mean over users; None too when the dimensions differ
    cosine_rotated: float | None  # after the best rotation, on users whom it was not fitted on
    norm_drift: float | None  # mean of |norm at b - norm at a| / norm at a

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def diff_versions(
    repo: FeatureRepo,
    a: EmbeddingVersion,
    b: EmbeddingVersion,
    sample: int = 2_000,
    progress: Progress | None = None,
) -> VersionDiff:
    """Compare the stored vectors of two versions over known users: `sample` of them drawn at random, or all.

    The same stored vectors give the same answer. Raises Unavailable when database or online store do not answer.
    """
    users_known, users = repo.log.sample_users(sample)
    report = progress or silent
    stored = []
    for place, version in enumerate((a, b)):
        stored.append(_vectors(repo, version, users))
        report(f"comparing {a.id} with {b.id}", place + 1, 2)
    of_a, of_b = stored
    both = _own(repo, a, of_a) & _own(repo, b, of_b)
    compared_a, compared_b = of_a.vectors[both], of_b.vectors[both]
    evaluations = repo.registry.versions.evaluations
    return VersionDiff(
        a=_side(a, of_a, compared_a),
        b=_side(b, of_b, compared_b),
        measured=_metric_pairs(evaluations(a.id), evaluations(b.id)),
        users_known=users_known,
        users_sampled=len(users),
        users_compared=len(compared_a),
        **_spaces(compared_a, compared_b),
    )


def _spaces(a: Float32, b: Float32) -> dict[str, Any]:
    unit_a, unit_b = unit_rows(a), unit_rows(b)
    k = min(NEIGHBOURS, max(0, len(a) - 1))
    norms_a, norms_b = (np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (a, b))
    drifts = np.abs(norms_b - norms_a)[norms_a > 0] / norms_a[norms_a > 0]
    return {
        "neighbours": k,
        "neighbour_overlap": overlap(unit_a, unit_b, k) if k else None,
        "cosine_raw": mean_cosine(unit_a, unit_b) if len(a) and a.shape == b.shape else None,
        "cosine_rotated": held_out_cosine(unit_a, unit_b),
        "norm_drift": float(drifts.mean()) if drifts.size else None,
    }


def _vectors(repo: FeatureRepo, version: EmbeddingVersion, users: Sequence[str]) -> VectorRows:
    if repo.has_view(version):
        return repo.read_vectors(version, users)
    n, numbers = len(users), np.zeros(len(users), np.int64)
    return VectorRows(np.zeros(n, np.bool_), np.zeros((n, version.dimension), np.float32), numbers, numbers, numbers)


def _own(repo: FeatureRepo, version: EmbeddingVersion, stored: VectorRows) -> Bool:
    """Bool [n]: users with a finite vector other than the prior. Priors are all alike and would be neighbours."""
    own: Bool = stored.found & np.isfinite(stored.vectors).all(axis=1)
    try:
        prior = load_prior(repo.settings.home / version.artifact)
    except PortraitError:  # a broken artifact; its vectors can be compared all the same
        return own
    own &= (stored.vectors != prior).any(axis=1)
    return own


def _side(version: EmbeddingVersion, stored: VectorRows, compared: Float32) -> VersionSide:
    coverage = float(stored.found.mean()) if len(stored.found) else 0.0
    norms = np.linalg.norm(compared.astype(np.float64), axis=1)
    mean_norm = float(norms.mean()) if norms.size else None
    return VersionSide(version.id, version.fingerprint, version.dimension, coverage, version.metrics, mean_norm)


def _metric_pairs(a: Sequence[Evaluation], b: Sequence[Evaluation]) -> tuple[MeasuredPair, ...]:
    """The newest value of each metric; sorted by task and metric."""
    newest_a, newest_b = ({_key(one, side): one.value for one in of} for side, of in (("a", a), ("b", b)))
    keys = sorted(newest_a.keys() | newest_b.keys())
    return tuple(MeasuredPair(*key[:2], key[2] or None, newest_a.get(key), newest_b.get(key)) for key in keys)


def _key(measured: Evaluation, side: str) -> tuple[str, str, str, str]:
    return measured.task, measured.metric, measured.data_stamp or "", "" if measured.data_stamp else side
