"""Vectors of a retiring version: deleted in short steps, with no new writes and no loss for other versions."""

import numpy as np
import pytest

from portrait.feature_repo.store.feature_repo import FeatureRepo
from portrait.registry.errors import Conflict
from portrait.registry.records.records import EmbeddingVersion
from tests.feature_repo.instance import register, retire, write

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

USERS = [f"user {n}" for n in range(20)]


def vectors(seed: int) -> np.ndarray:
    drawn: np.ndarray = np.random.default_rng(seed).normal(size=(len(USERS), 3)).astype(np.float32)
    return drawn


@pytest.fixture
def both(repo: FeatureRepo) -> tuple[EmbeddingVersion, EmbeddingVersion]:
    """Two versions with vectors of everybody."""
    versions = register(repo, 1), register(repo, 2)
    repo.apply()
    for seed, version in enumerate(versions):
        assert write(repo, version, vectors(seed), USERS) == len(USERS)
    return versions


def test_the_life_of_its_vectors(
    repo: FeatureRepo, both: tuple[EmbeddingVersion, EmbeddingVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portrait.feature_repo.online.sqlite.CHUNK", 10)
    monkeypatch.setattr("portrait.feature_repo.online.redis.SCAN_ROWS", 5)
    going, staying = both
    with pytest.raises(Conflict, match=r"autoencoder-1 is registered: only `portrait retire autoencoder-1` deletes"):
        repo.delete_vectors(going)
    assert repo.count_vectors(going) == len(USERS)

    retire(repo.registry, going)
    with pytest.raises(Conflict, match="autoencoder-1 is retiring: nothing is written to it"):
        write(repo, going, vectors(7), USERS)
    assert repo.read_vectors(going, USERS).vectors.tobytes() == vectors(0).tobytes()

    class Interrupted(Exception):
        pass

    steps: list[tuple[int, int]] = []

    def stop_at_the_second(_step: str, done: int, total: int, _note: str = "") -> None:
        steps.append((done, total))
        assert write(repo, staying, vectors(1), USERS) == 0  # no lock is held between two steps
        if len(steps) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        repo.delete_vectors(going, stop_at_the_second)
    left = repo.count_vectors(going)
    assert 0 < left < len(USERS) and steps[1] == (len(USERS) - left, len(USERS))
    assert repo.delete_vectors(going) == left
    assert repo.count_vectors(going) == repo.delete_vectors(going) == 0
    assert repo.read_vectors(staying, USERS).vectors.tobytes() == vectors(1).tobytes()
    assert (repo.read_vectors(staying, USERS).as_of == 5).all()

    assert "deleted feature view user_embedding__autoencoder_1" in repo.apply()
    retire(repo.registry, going, "retired")
    assert repo.delete_vectors(going) == 0  # without its view, too
    assert repo.read_vectors(staying, USERS).vectors.tobytes() == vectors(1).tobytes()


def test_vectors_that_arrive_while_it_begins_to_retire_do_not_stay(
    repo: FeatureRepo, both: tuple[EmbeddingVersion, EmbeddingVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    going, staying = both
    really = type(repo.online).write_vectors

    def retired_meanwhile(*arguments: object, **named: object) -> int:
        won: int = really(repo.online, *arguments, **named)
        retire(repo.registry, going)
        return won

    monkeypatch.setattr(repo.online, "write_vectors", retired_meanwhile)
    with pytest.raises(Conflict, match="is retiring"):
        repo.write_vectors(going, ["late"], vectors(3)[:1], np.array([9]), np.array([9]), computed_at=9)
    assert repo.count_vectors(going) == 0
    assert repo.count_vectors(staying) == len(USERS)
