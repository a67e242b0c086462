"""Steps of tests with an instance of the feature floor: versions, promotions, vectors, and Feast's command line."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import text

from portrait import feature_repo
from portrait.feature_repo.declaration.environment import feast_environment
from portrait.feature_repo.settings import FeatureSettings
from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.records.evidence_facts import ArtifactFacts, VectorFacts
from portrait.registry.records.records import EmbeddingVersion
from portrait.registry.registry import Registry
from portrait.registry.rows import bump
from portrait.registry.versions.versions import NewVersion

FOLDER = Path(feature_repo.__file__).resolve().parent
NOW = datetime(2024, 5, 1, tzinfo=UTC)
HEALTHY = VectorFacts(
    users_known=1,
    users_sampled=1,
    users_embedded=1,
    not_finite=0,
    norm_median=1.7,
    norm_largest=2.0,
    collapsed_dimensions=0,
    dimension=3,
    priors=0,
    watermark_lag=0.0,
    refresh_lag=0.0,
    users_behind=0,
)


def feast(settings: FeatureSettings, command: str) -> subprocess.CompletedProcess[str]:
    """The real command line, in the repository's folder."""
    program = Path(sys.executable).with_name("feast")
    environment = {**os.environ, **feast_environment(settings), "FEAST_USAGE": "False"}
    return subprocess.run(
        [program, command], cwd=settings.feature_repo, env=environment, capture_output=True, text=True, timeout=120
    )


def require_nothing_to_do(settings: FeatureSettings, *commands: str) -> None:
    """Feast's commands, by default plan and apply, report no change."""
    for command in commands or ("plan", "apply"):
        result = feast(settings, command)
        said = re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)
        assert result.returncode == 0, result.stderr
        assert not re.search(r"^(Created|Updated|Deleted|Removing)", said, re.MULTILINE), said
        if command == "plan" or not settings.online_store_url:  # only with SQLite does Feast's apply print a diff
            assert "No changes to registry" in said
            assert "No changes to infrastructure" in said


def register(repo: FeatureRepo, number: int = 1) -> EmbeddingVersion:
    """A version of three dimensions."""
    return repo.registry.versions.register(
        NewVersion(
            family="autoencoder",
            fingerprint=f"{number:064x}",
            dimension=3,
            run=f"run-{number}",
            artifact=f"artifacts/run-{number}",
            snapshot="s",
            data_from=None,
            data_to=NOW,
            feature_schema={},
            config={},
            metrics={},
            code_revision="test",
        )
    )


def make_ready(repo: FeatureRepo, version: EmbeddingVersion) -> None:
    """Backfilled, and with evidence that no gate objects to."""
    backfill = repo.registry.backfills.begin(version.id, "s", NOW, 0)
    repo.registry.backfills.finish(backfill.id)
    repo.registry.evidence.record(version.id, ArtifactFacts(True, version.fingerprint), HEALTHY)


def promote(repo: FeatureRepo, consumer: str, version: EmbeddingVersion) -> None:
    make_ready(repo, version)
    repo.registry.consumers.add(consumer, owner="team", task="rank")
    repo.registry.promotions.promote(consumer, version.id, reason="test")


def retire(registry: Registry, version: EmbeddingVersion, state: str = "retiring") -> None:
    """Begin or end a retirement, as the registry does."""
    with registry.database.transaction() as session:
        change = "UPDATE embedding_versions SET state = :state, kept = :kept WHERE id = :id"
        session.execute(text(change), {"state": state, "kept": False, "id": version.id})
        bump(session)


def write(repo: FeatureRepo, version: EmbeddingVersion, vectors: np.ndarray, users: list[str]) -> int:
    orders = np.ones(len(users), np.int64), np.full(len(users), 5)
    return repo.write_vectors(version, users, vectors, *orders, computed_at=7)
