"""CLUE as a family: what is prepared, what an artifact holds, and what is refused."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from portrait.registry.errors import FingerprintMismatch, InvalidInput
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.prepare import PreparedSequences, prepare
from portrait.training.encoding.artifact import PRIOR, load_content, seal
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import TrainedModel
from portrait.training.runs.training_inputs import TrainingInputs
from portrait.training.settings import TrainingSettings
from tests.training.example import AS_OF_US, catalogue, inputs, population, train_here

CONFIG = ClueConfig(vocabulary=400)


def prepared(folder: Path, given: TrainingInputs, config: ClueConfig = CONFIG) -> PreparedSequences:
    folder.mkdir(exist_ok=True)
    prepare(given, config, folder, lambda *_, **__: None)
    return PreparedSequences(folder)


def with_texts(texts: list[str | None]) -> TrainingInputs:
    """The example with other texts in its catalogue, and no tags."""
    items = catalogue()
    items = items.set_column(items.column_names.index("text"), "text", pa.array(texts, pa.string()))
    return replace(inputs(population()), catalogue=items.drop_columns(["tags"]))


def test_what_an_artifact_holds(clue_model: TrainedModel) -> None:
    content = load_content(clue_model.path, None)
    assert (content.family, content.dimension, content.fingerprint) == ("clue", 8, clue_model.fingerprint)
    assert content.item_vectors["text"].shape == (len(content.items), 32) == (72, 32)
    assert content.document["schema"] == {"history_length": 256, "profile": [], "team": []}
    assert content.document["vocabularies"] == {
        "services": ["music", "shop"],
        "actions": content.document["vocabularies"]["actions"],
        "categories": {},
    }
    assert all(tensor.dtype == np.float32 for tensor in content.weights.values())
    assert not [name for name in content.weights if name.startswith(("clue.", "objective."))]
    assert content.weights[PRIOR].shape == (8,) and content.words == [] and content.text == {}
    assert clue_model.config["modality_encoders"] == {"text": {"items": 72, "dimension": 32}}


def test_items_are_ordered_by_use_as_the_picks_want_it(clue_model: TrainedModel) -> None:
    used: Counter[str] = Counter()
    for user in population().to_pylist():
        used.update({f"{s}\x1f{item}" for s, item in zip(user["services"], user["item_ids"], strict=True)})
    counts = [used[key] for key in load_content(clue_model.path, None).items]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_a_changed_tokenizer_is_refused(clue_model: TrainedModel, tmp_path: Path) -> None:
    artifact = Path(shutil.copytree(clue_model.path, tmp_path / "artifact"))
    document = json.loads((artifact / "encoder.json").read_text())
    tokenizer = json.loads(document["tokenizer"])
    tokenizer["model"]["merges"].pop()
    document["tokenizer"] = json.dumps(tokenizer)
    (artifact / "encoder.json").write_text(json.dumps(document))
    with pytest.raises(FingerprintMismatch, match=r"encoder\.json was changed"):
        load_encoder(artifact)
    (artifact / "manifest.json").unlink()
    forged = replace(load_content(clue_model.path, None), document=document)
    seal(artifact, forged)
    with pytest.raises(FingerprintMismatch, match=f"has fingerprint {forged.fingerprint[:12]}"):
        load_encoder(artifact, clue_model.fingerprint)


@pytest.mark.parametrize("objective", ["same_service", "category"])
def test_the_other_objectives_make_artifacts_too(
    clue_model: TrainedModel, settings: TrainingSettings, objective: str
) -> None:
    overrides = (f"objective={objective}", "categories=6", "epochs=1")
    model = train_here(settings, inputs(population()), *overrides, family="clue")
    assert model.fingerprint != clue_model.fingerprint and model.metrics["held_out_loss"] > 0
    assert np.isfinite(load_encoder(model.path, model.fingerprint).encode(population(), AS_OF_US)).all()
    assert load_content(model.path, None).weights.keys() == load_content(clue_model.path, None).weights.keys()


def test_without_picks_they_are_not_looked_at(settings: TrainingSettings) -> None:
    given = inputs(population(), exclude=("onboarding_items",))
    model = train_here(settings, given, "epochs=1", family="clue")
    encoder, users = load_encoder(model.path), population()
    np.testing.assert_array_equal(
        encoder.encode(users.drop_columns(["onboarding_items"]), AS_OF_US), encoder.encode(users, AS_OF_US)
    )


def test_only_items_with_a_text_are_known(tmp_path: Path) -> None:
    texts = [None if n % 3 == 0 else ["  ", "", "moss"][n % 2 * 2] for n in range(72)]
    found = prepared(tmp_path, with_texts(texts))
    assert len(found.vocabularies.items) == len(found.tokens) == texts.count("moss") == 24
    assert (found.tokens[:, 0] > 0).all()
    items = found.histories.items
    assert items.min() >= 0 and items.max() < 24


def test_what_is_prepared_is_the_same_again_and_stays_in_files(tmp_path: Path) -> None:
    for objective in ObjectiveName:
        config = replace(CONFIG, objective=objective, categories=6)
        first, second = (tmp_path / f"{objective}-{n}" for n in (1, 2))
        found, _ = prepared(first, inputs(population()), config), prepared(second, inputs(population()), config)
        names = sorted(path.name for path in first.iterdir())
        assert [(first / name).read_bytes() for name in names] == [(second / name).read_bytes() for name in names]
        assert ("categories.npy" in names) == (found.categories is not None) == (objective == ObjectiveName.CATEGORY)
        assert isinstance(found.histories.items.base, np.memmap) and isinstance(found.tokens.base, np.memmap)


@pytest.mark.parametrize("objective", ["cross_service", "same_service"])
def test_too_little_is_named(tmp_path: Path, objective: str) -> None:
    config = replace(CONFIG, objective=objective)
    said = "users have two events or picks of items with text before .*; training needs 10: ingest items"
    whole = inputs(population())
    for given in (
        with_texts([None] * 72),
        replace(whole, catalogue=catalogue().slice(0, 0)),
        replace(whole, tables=lambda: iter([population().slice(0, 0)]), users=0),
        replace(whole, tables=lambda: iter(()), users=0),
    ):
        with pytest.raises(InvalidInput, match=f"^0 {said}"):
            prepared(tmp_path, given, config)
    with pytest.raises(InvalidInput, match=f"^[1-9] {said}"):
        prepared(tmp_path, inputs(population(9)), config)


def test_texts_too_alike_to_make_categories_of(tmp_path: Path) -> None:
    config = replace(CONFIG, objective="category")
    with pytest.raises(InvalidInput, match="72 item texts are too few words to make categories of"):
        prepared(tmp_path, with_texts(["moss"] * 72), config)


def test_a_bucket_without_users_changes_nothing(tmp_path: Path) -> None:
    given = inputs(population())
    gaps = replace(given, tables=lambda: (part for table in given.tables() for part in (table.slice(0, 0), table)))
    plain, other = prepared(tmp_path / "a", given), prepared(tmp_path / "b", gaps)
    for name, array in plain.histories.arrays().items():
        np.testing.assert_array_equal(other.histories.arrays()[name], array)
