"""Sources of a vector: stored, computed at the same version, or its prior."""

from datetime import UTC, datetime

import numpy as np
import pytest

from portrait.feature_repo.schemas import microseconds
from portrait.registry.errors import Conflict, FingerprintMismatch, NotFound, Unavailable
from portrait.serving.reads.embedding_batch import EmbeddingBatch, SplitBatch
from portrait.serving.reads.encoders import EncoderCache
from portrait.serving.reads.reader import something_known
from tests.registry.factories import new_version
from tests.serving.twin_source import BACKFILLED, DIMENSION
from tests.serving.twins import ODD_VECTOR, TwinEncoder, Twins


def test_stored_users_cost_one_look_up_and_no_encoder(parts: Twins) -> None:
    batch = parts.reader.read("ranker", ["ada", "user-2"])
    assert batch.vectors.dtype == np.float32 and batch.vectors[0].tobytes() == ODD_VECTOR.tobytes()
    assert (batch.version, batch.fingerprint, batch.lane) == ("autoencoder-1", "f" * 64, "stable")
    assert list(batch.source) == ["stored", "stored"]
    assert batch.as_of.tolist() == [microseconds(BACKFILLED)] * 2
    assert parts.store.lookups == 1 and parts.encoders["autoencoder-1"].encoded == []


def test_missing_users_are_computed_at_the_version_asked_for(parts: Twins) -> None:
    batch = parts.reader.read("search", ["user-3", "bob", "nobody", "silent", "early"])
    assert list(batch.source) == ["stored", "computed", "prior", "prior", "computed"]
    newest = microseconds(BACKFILLED) + 7
    assert batch.vectors[1].tolist() == [2.0, 2.0, (newest + 1) % 1_000_003, 0, 0, 0, 0, 0]
    assert batch.vectors[2].tolist() == batch.vectors[3].tolist() == [-2.0] * DIMENSION
    # bob's newest event is later than the backfill; early's is not, and silent signed up at its very moment.
    backfilled = microseconds(BACKFILLED)
    assert batch.as_of.tolist() == [backfilled, newest + 1, backfilled, backfilled + 1, backfilled]
    assert (batch.age_seconds[1:] == 0).all() and batch.age_seconds[0] > 0
    assert parts.encoders["autoencoder-2"].encoded == ["bob", "silent", "early"]
    assert parts.encoders["autoencoder-1"].encoded == []


def test_unknown_and_unassigned_consumers(parts: Twins) -> None:
    with pytest.raises(NotFound, match="fresh, ranker, search"):
        parts.reader.read("nobody", ["ada"])
    with pytest.raises(Conflict, match="portrait promote fresh VERSION"):
        parts.reader.read("fresh", ["ada"])


CANARY_USERS = [f"user-{number}" for number in (4, 8, 13, 14, 21, 23)]  # in autoencoder-2 of ranker at 0.2


def in_a_canary(parts: Twins, share: float) -> None:
    parts.promote("ranker", "autoencoder-2", canary_share=share)


def test_a_canary_takes_two_look_ups_and_every_row_says_its_lane(parts: Twins) -> None:
    in_a_canary(parts, 0.2)
    users = [f"user-{number}" for number in range(30)]
    answer = parts.reader.read("ranker", users)
    assert isinstance(answer, SplitBatch) and len(answer) == 30 and parts.store.lookups == 2
    seen = list(answer.rows(lambda part: [(user, part.version, part.lane) for user in part.user_ids]))
    assert [user for user, _, _ in seen] == users
    assert {user for user, version, lane in seen if (version, lane) == ("autoencoder-2", "canary")} == set(CANARY_USERS)
    assert {(version, lane) for user, version, lane in seen if user not in CANARY_USERS} == {
        ("autoencoder-1", "stable")
    }
    numbers = [vector[0] for vector in answer.rows(lambda part: part.vectors)]
    assert numbers == [-number if f"user-{number}" in CANARY_USERS else number for number in range(30)]


def test_users_of_one_lane_take_one_look_up(parts: Twins) -> None:
    in_a_canary(parts, 0.2)
    for users, lane, sign in ((CANARY_USERS, "canary", -1), (["user-1", "user-2"], "stable", 1)):
        before = parts.store.lookups
        batch = parts.reader.read("ranker", users)
        assert isinstance(batch, EmbeddingBatch) and batch.lane == lane and parts.store.lookups == before + 1
        assert (np.sign(batch.vectors) == sign).all()
    assert parts.reader.read("search", users).lane == "stable"  # another consumer's canary is not its own


def test_missing_users_of_a_canary_are_computed_each_at_their_own_version(parts: Twins) -> None:
    in_a_canary(parts, 0.5)
    users = [f"new-{number}" for number in range(12)] + ["user-1"]
    for user in users[:6]:
        parts.store.inputs[user] = {"event_times": [7]}
    answer = parts.reader.read("ranker", users)
    assert list(answer.rows(lambda part: part.user_ids)) == users
    for number, part in enumerate(answer.parts, start=1):
        computed = [vector[0] for vector, source in zip(part.vectors, part.source, strict=True) if source == "computed"]
        priors = [vector[0] for vector, source in zip(part.vectors, part.source, strict=True) if source == "prior"]
        assert set(computed) == {number} and set(priors) == {-number}
    with pytest.raises(NotFound) as refused:
        parts.reader.read("ranker", users, strict=True)
    assert str(refused.value).count("'new-") == 5 and "and 1 more" in str(refused.value)  # of both lanes


def test_strict_names_the_unknown_users(parts: Twins) -> None:
    with pytest.raises(NotFound, match=r"'n0', 'n1', 'n2', 'n3', 'n4' and 2 more"):
        parts.reader.read("ranker", ["ada", "silent", *(f"n{number}" for number in range(7))], strict=True)


def test_nobody_at_all(parts: Twins) -> None:
    batch = parts.reader.read("ranker", [])
    assert len(batch) == 0 and batch.vectors.shape == (0, DIMENSION)


@pytest.mark.parametrize(
    "row",
    [
        {"event_times": [1]},
        {"item_ids": ["a"]},
        {"position": 1},
        {"created_time": BACKFILLED},
        {"onboarding_items": ["a"]},
        {"country": ""},
        {"taste": [0.0, 0.0]},
        {"as_of": BACKFILLED},
    ],
)
def test_any_column_makes_a_user_known(parts: Twins, row: dict[str, object]) -> None:
    parts.store.inputs["somebody"] = row
    inputs = parts.store.read_inputs(["nobody", "somebody"])
    assert something_known(inputs).tolist() == [False, True]


def test_a_version_that_was_never_backfilled_computes_as_of_its_data(parts: Twins) -> None:
    trained = parts.registry.versions.register(new_version("run-3", dimension=DIMENSION))
    parts.encoders[trained.id] = TwinEncoder(3)
    parts.operations.promote("ann", "ranker", trained.id, "in spite of all", force=True)
    parts.reader.assignments.refresh()
    assert parts.reader.read("ranker", ["early"]).as_of.tolist() == [microseconds(trained.data_to)]


def test_microseconds_are_exact() -> None:
    assert microseconds(datetime(2262, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)) == 9_214_646_400_999_999


@pytest.mark.parametrize("error", [FingerprintMismatch("changed"), NotFound("gone"), FileNotFoundError("gone")])
def test_an_artifact_that_cannot_be_used_is_not_the_callers_fault(parts: Twins, error: Exception) -> None:
    def refuse(_version: object) -> object:
        raise error

    parts.reader.encoders = EncoderCache(refuse)  # type: ignore[arg-type]
    assert list(parts.reader.read("ranker", ["ada"]).source) == ["stored"]
    with pytest.raises(Unavailable, match="autoencoder-1 cannot be computed"):
        parts.reader.read("ranker", ["ada", "bob"])
