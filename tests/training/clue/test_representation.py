"""A loaded CLUE: the mean of a user's services, the same by hand, in any batch and in any order."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.nn.functional import normalize

from portrait.registry.errors import InvalidInput
from portrait.training.clue import representation as module
from portrait.training.clue.batch import Sequences, gap_bucket
from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.tokenizer import ItemTokenizer
from portrait.training.encoding.artifact import PRIOR, Content, load_content
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.runs.run import TrainedModel
from tests.training.encoding.test_later_items import items, listener
from tests.training.example import AS_OF, AS_OF_US, DAY, catalogue, population

LISTS = ("services", "item_ids", "actions", "weights", "event_times", "event_ids")


@pytest.fixture
def encoder(clue_model: TrainedModel) -> Encoder:
    return load_encoder(clue_model.path, clue_model.fingerprint)


@pytest.fixture(scope="module")
def content(clue_model: TrainedModel) -> Content:
    return load_content(clue_model.path, None)


def by_hand(content: Content, user: dict[str, Any], as_of: int) -> np.ndarray:
    """One user, one service after the other, without padding, from what the artifact says."""
    shape = Shape(**content.document["shape"])
    clue = Clue(shape).eval()
    clue.load_state_dict({name: torch.from_numpy(w) for name, w in content.weights.items() if name != PRIOR})
    codes = {tuple(key.split("\x1f")): row for row, key in enumerate(content.items)}
    actions = content.document["vocabularies"]["actions"]
    services: dict[str, list[tuple[int, int, int | None]]] = {}
    born = user["created_time"] is None or user["created_time"] < as_of
    for pick in (user["onboarding_items"] or []) if born else []:
        known = [row for (_, item), row in codes.items() if item == pick]
        services.setdefault("", []).extend((row, 0, 0) for row in known[:1])
    for service, item, action, time in zip(*(user[name] for name in (*LISTS[:3], "event_times")), strict=True):
        if (service, item) in codes and time < as_of:
            code = actions.index(action) + 1 if action in actions else 0
            services.setdefault(service, []).append((codes[service, item], code, time))
    vectors = []
    for events in services.values():
        rows, acts, times = zip(*events[-shape.sequence_length :], strict=True)
        gaps = [-1, *((b - a) // 1_000_000 for a, b in pairwise(times))]
        columns = (torch.tensor([rows]), torch.tensor([acts]), gap_bucket(torch.tensor([gaps])))
        with torch.no_grad():
            vectors.append(clue.services(Sequences(*columns), torch.from_numpy(content.item_vectors["text"]))[0])
    if not vectors:
        return content.weights[PRIOR]
    mean: np.ndarray = normalize(torch.stack(vectors).mean(dim=0), dim=0).numpy()
    return mean


def test_it_is_what_is_computed_by_hand(content: Content, encoder: Encoder) -> None:
    users = population(seed=1)
    as_of = [AS_OF_US - place % 5 * 50 * DAY for place in range(len(users))]
    found = encoder.encode(users, np.array(as_of))
    assert found.dtype == np.float32 and found.shape == (120, 8)
    place = users.column_names.index("created_time")
    rows = users.set_column(place, "created_time", users["created_time"].cast(pa.int64())).to_pylist()
    expected = np.stack([by_hand(content, user, at) for user, at in zip(rows, as_of, strict=True)])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    known = (found != encoder.prior).any(axis=1)
    assert 60 < known.sum() < 120
    np.testing.assert_allclose(np.linalg.norm(found[known], axis=1), 1, atol=1e-5)


def test_the_vectors_of_the_items_are_those_of_their_texts(content: Content) -> None:
    shape = Shape(**content.document["shape"])
    clue = Clue(shape).eval()
    clue.load_state_dict({name: torch.from_numpy(w) for name, w in content.weights.items() if name != PRIOR})
    rows = catalogue().to_pylist()
    texts = {f"{row['service']}\x1f{row['item_id']}": f"{row['text']} {row['tags'][0]}" for row in rows}
    tokenizer = ItemTokenizer.from_json(content.document["tokenizer"])
    tokens = torch.from_numpy(tokenizer.encode([texts[key] for key in content.items], shape.text_length))
    with torch.no_grad():
        expected = clue.items(tokens).numpy()
    np.testing.assert_allclose(content.item_vectors["text"], expected, rtol=0, atol=1e-5)


def test_few_places_at_once_change_nothing(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encoder.encode(population(), AS_OF_US)
    monkeypatch.setattr(module, "PLACES", 50)
    np.testing.assert_allclose(encoder.encode(population(), AS_OF_US), whole, rtol=0, atol=1e-5)


def test_the_prior_is_the_mean_of_the_users_of_whom_something_is_known(encoder: Encoder) -> None:
    vectors = encoder.encode(population(), AS_OF_US)
    silent = [
        place
        for place, user in enumerate(population().to_pylist())
        if not (set(user["item_ids"]) - {"unheard-of"} or (user["onboarding_items"] and user["created_time"] < AS_OF))
    ]
    assert {7, 8, 27} <= set(silent) and len(silent) < 15
    assert [place for place, vector in enumerate(vectors) if (vector == encoder.prior).all()] == silent
    known = np.delete(vectors, silent, axis=0)
    np.testing.assert_allclose(encoder.prior, known.mean(axis=0), rtol=0, atol=1e-5)


def test_picks_alone_give_a_vector(encoder: Encoder) -> None:
    one, other = (encoder.encode(listener(picks=picks), AS_OF_US)[0] for picks in (("m0-0", "m0-1"), ("m1-0",)))
    assert (one != encoder.prior).any() and np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(encoder.encode(listener(picks=("unheard-of",)), AS_OF_US)[0], encoder.prior)


def test_an_item_without_a_text_is_nothing(encoder: Encoder) -> None:
    with_it, without = (encoder.encode(listener(*played), AS_OF_US) for played in (("silent", "m0-0"), ("m0-0",)))
    np.testing.assert_array_equal(with_it, without)
    for text in (None, "", "  "):
        encoder.learn(items(("silent", text)), encoder.items_position + 1)
    np.testing.assert_array_equal(encoder.encode(listener("silent"), AS_OF_US)[0], encoder.prior)
    encoder.learn(items(("silent", "<pad>")), 9)  # which is a text like any other
    assert (encoder.encode(listener("silent"), AS_OF_US)[0] != encoder.prior).any()


def test_the_first_text_wins(encoder: Encoder) -> None:
    encoder.learn(items(("new", None), ("new", "forest moss"), ("new", "oven spice")), 3)
    first = encoder.encode(listener("new"), AS_OF_US)
    encoder.learn(items(("new", "oven spice"), ("twin", "forest moss"), ("other", "oven spice")), 6)
    np.testing.assert_array_equal(encoder.encode(listener("new"), AS_OF_US), first)
    np.testing.assert_allclose(encoder.encode(listener("twin"), AS_OF_US), first, rtol=0, atol=1e-5)
    assert np.abs(encoder.encode(listener("other"), AS_OF_US) - first).max() > 1e-3


def test_a_learnt_item_counts_as_a_trained_one_of_the_same_text(encoder: Encoder) -> None:
    first = catalogue().slice(0, 1).to_pylist()[0]
    encoder.learn(pa.Table.from_pylist([{**first, "item_id": "twin"}], schema=catalogue().schema), 1)
    trained, twin = (encoder.encode(listener(item), AS_OF_US) for item in ("m0-0", "twin"))
    np.testing.assert_allclose(twin, trained, rtol=0, atol=1e-5)


def test_the_order_of_the_events_in_the_table_does_not_matter(encoder: Encoder) -> None:
    rng = np.random.default_rng(0)
    users = population().to_pylist()
    mixed = []
    for user in users:
        order = rng.permutation(len(user["item_ids"]))
        mixed.append({**user, **{name: [user[name][place] for place in order] for name in LISTS}})
    found = encoder.encode(pa.Table.from_pylist(mixed, schema=population().schema), AS_OF_US)
    np.testing.assert_allclose(found, encoder.encode(population(), AS_OF_US), rtol=0, atol=1e-5)


def test_only_the_newest_events_of_a_service_count(encoder: Encoder, content: Content) -> None:
    length = content.document["shape"]["sequence_length"]
    rng = np.random.default_rng(0)
    played = [f"m{rng.integers(3)}-{rng.integers(12)}" for _ in range(length + 5)]
    longer, newest = (encoder.encode(listener(*of), AS_OF_US) for of in (played, played[-length:]))
    np.testing.assert_array_equal(longer, newest)
    assert (encoder.encode(listener(*played[-length + 1 :]), AS_OF_US) != newest).any()


def test_times_between_events_count_and_the_time_since_does_not(encoder: Encoder) -> None:
    user = listener("m0-0", "m1-1")
    at = user.column_names.index("event_times")
    sooner = user.set_column(at, "event_times", pa.array([[AS_OF_US - 2 * DAY, AS_OF_US - 2 * DAY + 5_000_000]]))
    plain = encoder.encode(user, AS_OF_US)
    assert np.abs(encoder.encode(sooner, AS_OF_US) - plain).max() > 1e-4
    np.testing.assert_array_equal(encoder.encode(user, AS_OF_US + 1000 * DAY), plain)
    assert encoder.window_days == ()


def test_profile_fields_are_not_asked_for_but_picks_are(encoder: Encoder) -> None:
    users = population()
    bare = users.drop_columns(["country", "age", "listening__mood"])
    np.testing.assert_array_equal(encoder.encode(bare, AS_OF_US), encoder.encode(users, AS_OF_US))
    assert encoder.input_schema.names == ()
    with pytest.raises(InvalidInput, match=r"lack the columns \['onboarding_items'\]"):
        encoder.encode(users.drop_columns(["onboarding_items"]), AS_OF_US)
