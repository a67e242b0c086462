"""The inspection of a version: evidence about its artifact and vectors that the gates read. It changes nothing."""

from datetime import timedelta
from pathlib import Path

import numpy as np

from portrait.feature_repo.online.codec import VectorRows
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import PortraitError, first_line
from portrait.registry.progress import Progress, silent
from portrait.registry.records.evidence_facts import ArtifactFacts, VectorFacts
from portrait.registry.records.records import EmbeddingVersion
from portrait.training.encoding.arrays import Bool, Float32, Int64
from portrait.training.encoding.artifact import found_fingerprint

CHUNK = 5_000  # users a read; bounds memory beside the vectors themselves
COLLAPSED = 1e-3
"""A dimension has collapsed when it varies less than this share of what dimensions vary by (root mean square)."""


def inspect_version(
    repo: FeatureRepo, version: EmbeddingVersion, sample: int = 20_000, progress: Progress | None = None
) -> tuple[ArtifactFacts, VectorFacts]:
    """Load the artifact of a version and look at its stored vectors.

    The vectors are those of all known users, or of `sample` of them drawn at random where there are more (always the
    same ones, so that two versions are judged by the same users), each compared with the user's history in the online
    store. A bad artifact is a fact and never raises. Raises Unavailable when database or online store do not answer.
    """
    artifact, prior = inspect_artifact(repo.settings.home / version.artifact, version.fingerprint)
    return artifact, inspect_vectors(repo, version, prior, sample, progress)


def inspect_artifact(folder: Path, fingerprint: str) -> tuple[ArtifactFacts, Float32 | None]:
    """(whether an artifact loads as the version of a fingerprint and encodes its probe, its prior if it does)."""
    try:
        from portrait.training.encoding.encoder import load_encoder  # with torch, whose absence would be a fact too

        encoder = load_encoder(folder, fingerprint)
    except Exception as error:  # damaged bytes make the readers of three formats raise anything
        return ArtifactFacts(False, found_fingerprint(folder), _sentence(error)), None
    return ArtifactFacts(True, encoder.fingerprint), encoder.prior


def inspect_vectors(
    repo: FeatureRepo,
    version: EmbeddingVersion,
    prior: Float32 | None,
    sample: int = 20_000,
    progress: Progress | None = None,
) -> VectorFacts:
    """Facts about the stored vectors of a version; without a `prior` none is counted as one.

    All zero for a version without vectors. Norms and dimensions are measured over the finite vectors, collapsed
    dimensions over those of them that are not the prior.
    """
    users_known, users = repo.log.sample_users(sample)
    stored, position, newest = _read_vectors(repo, version, users, progress or silent)
    vectors = stored.vectors[stored.found]
    finite = np.isfinite(vectors).all(axis=1)
    is_prior = np.zeros(len(vectors), np.bool_) if prior is None else (vectors == prior).all(axis=1)
    norms = np.linalg.norm(vectors[finite].astype(np.float64), axis=1)
    behind = stored.found & ((position > stored.position) | (newest >= stored.as_of))
    trailing = (newest - stored.as_of)[behind]
    return VectorFacts(
        users_known=users_known,
        users_sampled=len(users),
        users_embedded=len(vectors),
        not_finite=int((~finite).sum()),
        norm_median=float(np.median(norms)) if norms.size else 0.0,
        norm_largest=float(norms.max()) if norms.size else 0.0,
        collapsed_dimensions=int(collapsed_dimensions(vectors[finite & ~is_prior]).sum()),
        dimension=version.dimension,
        priors=int(is_prior.sum()),
        watermark_lag=watermark_lag(repo, version),
        refresh_lag=max(0.0, float(trailing.max()) / 1e6) if trailing.size else 0.0,
        users_behind=int(behind.sum()),
    )


def collapsed_dimensions(vectors: Float32) -> Bool:
    """Bool [d]: dimensions of vectors [n, d] that are the same for everybody; none for less than two vectors.

    Measured against the root mean square of all dimensions' deviations, not their median: it finds them too when
    they are the majority.
    """
    if len(vectors) < 2:
        return np.zeros(vectors.shape[1], np.bool_)
    deviation = vectors.std(axis=0, dtype=np.float64)
    alike: Bool = (vectors == vectors[0]).all(axis=0)
    alike |= deviation < COLLAPSED * np.sqrt(np.mean(deviation**2))
    return alike


def watermark_lag(repo: FeatureRepo, version: EmbeddingVersion) -> float:
    """Seconds of event time by which the version's newest finished backfill trails the log.

    Without one it trails by the whole log; 0 for a log without events.
    """
    manifest = repo.log.manifest()
    if manifest.watermark is None:
        return 0.0
    since = version.last_as_of or min(segment.oldest for segment in manifest.segments if segment.oldest is not None)
    return max(manifest.watermark - since, timedelta()).total_seconds()


def _read_vectors(
    repo: FeatureRepo, version: EmbeddingVersion, users: list[str], progress: Progress
) -> tuple[VectorRows, Int64, Int64]:
    """The users' vectors at the version, and position and newest event of their histories."""
    parts, has_view = [_none(version.dimension)], repo.has_view(version)
    for start in range(0, len(users) if has_view else 0, CHUNK):
        chunk = users[start : start + CHUNK]
        parts.append((repo.read_vectors(version, chunk), *repo.read_history_ends(chunk)))
        progress(f"inspecting {version.id}", start + len(chunk), len(users))
    rows, position, newest = zip(*parts, strict=True)
    fields = (np.concatenate(column) for column in zip(*(vars(row).values() for row in rows), strict=True))
    return VectorRows(*fields), np.concatenate(position), np.concatenate(newest)


def _none(dimension: int) -> tuple[VectorRows, Int64, Int64]:
    numbers = np.zeros(0, np.int64)
    vectors = np.zeros((0, dimension), np.float32)
    return VectorRows(np.zeros(0, np.bool_), vectors, numbers, numbers, numbers), numbers, numbers


def _sentence(error: Exception) -> str:
    return first_line(error) if isinstance(error, PortraitError) else f"{type(error).__name__}: {first_line(error)}"
