"""Items that appear after training: they count at once, the first text for good, and nobody else moves."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from portrait.training.encoding.artifact import load_content
from portrait.training.encoding.encoder import Encoder, load_encoder
from portrait.training.modality.text import TextEncoder
from portrait.training.runs.run import TrainedModel
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF, AS_OF_US, DAY, WORDS, catalogue, inputs, population, train_here

SCHEMA = catalogue().schema


def items(*rows: tuple[str, str | None], service: str = "music", **further: Any) -> pa.Table:
    """Rows of the catalogue: item id and text each, with further columns."""
    made = [{"service": service, "item_id": item, "text": text} for item, text in rows]
    table = pa.Table.from_pylist(made, schema=SCHEMA)
    for name, values in further.items():
        table = table.append_column(name, pa.array(values, pa.list_(pa.float32())))
    return table


def listener(*item_ids: str, picks: tuple[str, ...] = ()) -> pa.Table:
    """A user with nothing but these events, a day apart, and picks."""
    blank = dict.fromkeys(population().column_names)
    days = range(len(item_ids), 0, -1)
    user = {
        "user_id": "listener",
        "services": ["music"] * len(item_ids),
        "item_ids": list(item_ids),
        "actions": ["view"] * len(item_ids),
        "weights": [1.0] * len(item_ids),
        "event_times": [AS_OF_US - day * DAY for day in days],
        "event_ids": [f"e{day}" for day in days],
        "as_of": AS_OF,
        "onboarding_items": list(picks) or None,
    }
    return pa.Table.from_pylist([{**blank, **user}], schema=population().schema)


@pytest.fixture
def encoder(model: TrainedModel) -> Encoder:
    return load_encoder(model.path, model.fingerprint)


@pytest.fixture
def any_encoder(either: TrainedModel) -> Encoder:
    return load_encoder(either.path, either.fingerprint)


def encoded(encoder: Encoder, user: pa.Table) -> np.ndarray:
    return encoder.encode(user, AS_OF_US)[0]


def test_an_item_has_the_vector_that_its_text_would_have_had_at_training(model: TrainedModel) -> None:
    content = load_content(model.path, None)
    text = TextEncoder(content.words, **content.text)
    place = {key: row for row, key in enumerate(content.items)}
    rows = catalogue().to_pylist()
    stored = content.item_vectors["text"][[place[f"{row['service']}\x1f{row['item_id']}"] for row in rows]]
    np.testing.assert_array_equal(text.vectors(catalogue()), stored)
    for row, vector in zip(rows[::7], stored[::7], strict=True):  # alone or among others
        np.testing.assert_array_equal(text.vectors(pa.Table.from_pylist([row], schema=SCHEMA))[0], vector)
    assert np.isnan(text.vectors(items(("x", "words that nobody knows"), ("y", None)))).all()


def test_a_twin_of_a_known_text_counts_as_much(encoder: Encoder, model: TrainedModel) -> None:
    """An item of the same text and no other vector: in the text blocks its users cannot be told apart."""
    first = catalogue().slice(0, 1).to_pylist()[0]
    encoder.learn(pa.Table.from_pylist([{**first, "item_id": "twin"}], schema=SCHEMA), 1)
    rows, layout = encoder._representation.rows, encoder._representation.rows.builder.layout  # type: ignore[attr-defined]
    at = np.array([AS_OF_US])
    trained, twin = rows.build(listener("m0-0"), at)[0], rows.build(listener("twin"), at)[0]
    starts = np.cumsum([0, *(block.width for block in layout.blocks)])
    for block, start in zip(layout.blocks, starts, strict=False):
        columns = slice(start, start + block.width)
        if block.name.startswith(("collaborative", "latent")):
            assert np.isnan(twin[columns]).all()
        else:
            np.testing.assert_array_equal(twin[columns], trained[columns])


def test_it_counts_at_once_in_events_and_in_picks(any_encoder: Encoder) -> None:
    user, picker = listener("new"), listener(picks=("new",))
    before = encoded(any_encoder, user)
    assert (encoded(any_encoder, picker) == any_encoder.prior).all()
    any_encoder.learn(items(("new", " ".join(WORDS[1]))), 1)
    assert np.abs(encoded(any_encoder, user) - before).max() > 0.05
    assert (encoded(any_encoder, picker) != any_encoder.prior).any()


def test_the_first_text_wins(encoder: Encoder) -> None:
    encoder.learn(items(("new", None), ("new", "nobody knows this"), ("new", "forest moss"), ("new", "oven spice")), 4)
    first = encoded(encoder, listener("new"))
    encoder.learn(items(("new", "oven spice bread"), ("other", "forest moss")), 6)
    np.testing.assert_array_equal(encoded(encoder, listener("new")), first)
    np.testing.assert_array_equal(encoded(encoder, listener("other")), first)


def test_items_of_the_artifact_keep_its_vectors(any_encoder: Encoder) -> None:
    user = listener("m0-0", "m1-1")
    before = encoded(any_encoder, user)
    any_encoder.learn(items(("m0-0", "oven spice bread")), 1)
    np.testing.assert_array_equal(encoded(any_encoder, user), before)
    # Another service's item of that id is new, but not the one that they touched.
    any_encoder.learn(items(("m0-0", "oven spice bread"), service="shop"), 2)
    np.testing.assert_array_equal(encoded(any_encoder, user), before)
    picked = listener(picks=("m0-0",))
    before = encoded(any_encoder, picked)
    any_encoder.learn(items(("m0-0", "oven bread"), service="video"), 3)
    np.testing.assert_array_equal(encoded(any_encoder, picked), before)  # a pick means the item that had this id before


def test_nobody_else_moves(any_encoder: Encoder) -> None:
    users = population()
    before = any_encoder.encode(users, AS_OF_US)
    any_encoder.learn(items(*((f"new-{n}", " ".join(WORDS[n % 3])) for n in range(500))), 500)
    np.testing.assert_array_equal(any_encoder.encode(users, AS_OF_US), before)
    together = pa.concat_tables([users, listener("new-1", "m0-0")])
    np.testing.assert_allclose(any_encoder.encode(together, AS_OF_US)[:-1], before, rtol=0, atol=1e-5)


def test_however_they_come_they_are_the_same(either: TrainedModel) -> None:
    """Row by row, in parts that overlap, or at once. To the bit, but for CLUE: its batches of texts are others."""
    rng = np.random.default_rng(0)
    words = [word for taste in WORDS for word in taste]
    rows = items(*((f"new-{rng.integers(40)}", " ".join(rng.choice(words, 3))) for _ in range(150)))
    user = listener(*(f"new-{n}" for n in range(40)))
    found = []
    for size in (1, 7, 64, 150):
        encoder = load_encoder(either.path)
        for start in range(0, 150, size):
            earlier = max(start - 3, 0)  # known rows once more
            encoder.learn(rows.slice(earlier, start - earlier + size), min(start + size, 150))
            encoder.learn(rows.slice(0, 20), 20)  # long known: what was learnt beyond stays
        assert encoder.items_position == 150
        found.append(encoded(encoder, user))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-5 if either.family == "clue" else 0)


def test_learning_while_others_encode(either: TrainedModel, any_encoder: Encoder) -> None:
    """Every vector is one of before or after some learning, and the last one knows everything."""
    user, done = listener(*(f"new-{n}" for n in range(60))), threading.Event()
    seen: list[np.ndarray] = []

    def watch() -> None:
        while not done.is_set():
            seen.append(encoded(any_encoder, user))

    expected = [encoded(any_encoder, user)]
    alone = load_encoder(either.path)
    rows = items(*((f"new-{n}", " ".join(WORDS[n % 3])) for n in range(60)))
    for end in range(1, 61):
        alone.learn(rows.slice(end - 1, 1), end)
        expected.append(encoded(alone, user))
    with ThreadPoolExecutor(3) as pool:
        watching = [pool.submit(watch) for _ in range(2)]
        for end in range(1, 61):
            any_encoder.learn(rows.slice(end - 1, 1), end)
        done.set()
        for each in watching:
            each.result()
    possible = np.stack(expected)
    assert seen
    for vector in seen:
        assert (np.abs(possible - vector).max(axis=1) < 1e-5).any()
    np.testing.assert_array_equal(encoded(any_encoder, user), possible[-1])


@pytest.fixture
def with_sounds(settings: TrainingSettings) -> TrainedModel:
    """A model with a ready modality."""
    sounds = [[float(n % 5), float(n % 3), 1.0] for n in range(len(catalogue()))]
    brought = catalogue().append_column("vector_audio", pa.array(sounds, pa.list_(pa.float32())))
    return train_here(settings, replace(inputs(population()), catalogue=brought))


def test_ready_vectors_of_new_items_count_too(with_sounds: TrainedModel) -> None:
    encoder = load_encoder(with_sounds.path)
    sounds = [[1.0, 2.0, 1.0], [1.0, 2.0], None, [float("nan"), 1.0, 1.0]]
    texts = (("sound", None), ("short", None), ("none", None), ("odd", None))
    unknown = encoded(encoder, listener("sound"))
    encoder.learn(items(*texts, vector_audio=sounds), 4)
    assert (encoded(encoder, listener("sound")) != unknown).any()
    for item in ("short", "none", "odd"):  # without a vector of the right length they are as unknown as before
        np.testing.assert_array_equal(encoded(encoder, listener(item)), unknown)
    encoder.learn(items(("short", "forest moss")), 5)  # a table without the column: the text counts alone
    assert (encoded(encoder, listener("short")) != unknown).any()


def test_vectors_of_another_space_do_not_count(model: TrainedModel, encoder: Encoder) -> None:
    """The model fitted its collaborative vectors itself; a column of that name and length means something else."""
    length = load_content(model.path, None).item_vectors["collaborative"].shape[1]
    unknown = encoded(encoder, listener("new"))
    encoder.learn(items(("new", None), vector_collaborative=[[1.0] * length]), 1)
    np.testing.assert_array_equal(encoded(encoder, listener("new")), unknown)


def test_brought_text_vectors_leave_no_text_encoder(settings: TrainingSettings) -> None:
    brought = catalogue().append_column(
        "vector_text", pa.array([[float(n % 5), 1.0] for n in range(len(catalogue()))], pa.list_(pa.float32()))
    )
    model = train_here(settings, replace(inputs(population()), catalogue=brought))
    content = load_content(model.path, None)
    assert content.words == [] and content.text == {} and content.document["brought"] == ["text"]
    encoder = load_encoder(model.path)
    unknown = encoded(encoder, listener("new"))
    encoder.learn(items(("new", "forest moss")), 1)
    np.testing.assert_array_equal(encoded(encoder, listener("new")), unknown)


def test_artifacts_of_earlier_code_embed_no_new_items(model: TrainedModel) -> None:
    content = load_content(model.path, None)
    document = {name: value for name, value in content.document.items() if name != "brought"}
    encoder = Encoder(replace(content, document=document, words=[], text={}))
    users = population()
    np.testing.assert_array_equal(encoder.encode(users, AS_OF_US), load_encoder(model.path).encode(users, AS_OF_US))
    unknown = encoded(encoder, listener("new"))
    encoder.learn(items(("new", "forest moss")), 1)
    np.testing.assert_array_equal(encoded(encoder, listener("new")), unknown)
    assert encoder.items_position == 1


def test_memory_is_told(either: TrainedModel, any_encoder: Encoder) -> None:
    before = any_encoder.nbytes
    any_encoder.learn(items(*((f"new-{n}", "forest moss") for n in range(1000))), 1000)
    counted = either.family == "autoencoder"  # beside each vector it keeps whether there is one
    learnt = 1000 * 4 * sum(v.shape[1] + counted for v in load_content(either.path, None).item_vectors.values())
    assert before + learnt <= any_encoder.nbytes <= before + 2.1 * learnt
