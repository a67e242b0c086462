"""Every kind of head: it learns, is the same again, comes back from disk bit for bit, and refuses other vectors."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from portrait.registry.errors import FingerprintMismatch, InvalidInput, NotFound
from portrait.training.heads import kinds, two_tower
from portrait.training.heads.descent import Scale
from portrait.training.heads.examples import Chosen, Items, Labelled
from portrait.training.heads.head import About, FittedHead, fit, load_head
from portrait.training.heads.kinds import KINDS
from portrait.training.metrics.classes import accuracy, auc, log_loss
from portrait.training.metrics.ranking import full_ranks, ndcg

DIMENSION = 12
ABOUT = About("autoencoder-3", "a" * 64, DIMENSION, "churned", "stamp", {"auc": 0.75})
CLASSES = ("logistic", "mlp", "boosting")


def labelled(rows: int, classes: int, seed: int) -> Labelled:
    """Classes that shift the vectors, which lie far from zero and on other scales."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(classes, size=rows)
    centres = np.random.default_rng(99).normal(size=(classes, DIMENSION))
    vectors = (rng.normal(size=(rows, DIMENSION)) + centres[codes]) * 10.0 ** np.arange(-3, 3).repeat(2) + 5
    return Labelled.from_labels(vectors.astype(np.float32), [f"class {code}" for code in codes])


def chosen(rows: int, seed: int) -> Chosen:
    """Users who take the item whose features their vector has."""
    rng = np.random.default_rng(seed)
    features = np.random.default_rng(99).normal(size=(30, DIMENSION)).astype(np.float32)
    item = rng.integers(30, size=rows)
    vectors = (features[item] + 0.3 * rng.normal(size=(rows, DIMENSION))).astype(np.float32)
    items = Items(features, np.bincount(item, minlength=30), tuple(f"shop/{n}" for n in range(30)))
    return Chosen(vectors, item, np.zeros((rows, 30), bool), items)


def part(kind: str, seed: int, rows: int = 600) -> Labelled | Chosen:
    return chosen(rows, seed) if kind == "two-tower" else labelled(rows, 3, seed)


def fitted(kind: str) -> FittedHead:
    train, validation = part(kind, 0), part(kind, 1, 200)
    if isinstance(validation, Chosen) and isinstance(train, Chosen):
        validation = replace(validation, items=train.items)
    return fit(kind, ABOUT, train, validation, seed=0)


@pytest.fixture(scope="module", params=KINDS)
def head(request: pytest.FixtureRequest) -> FittedHead:
    """A fitted head of each kind."""
    return fitted(request.param)


def test_it_learns(head: FittedHead) -> None:
    test = part(head.kind, 2)
    scores = head.scores(test.vectors, ABOUT.fingerprint)
    codes = test.item if isinstance(test, Chosen) else test.codes
    assert scores.dtype == np.float32 and scores.shape == (len(test), len(head.names))
    assert accuracy(scores, codes) > 0.8
    assert head.predict(test.vectors, ABOUT.fingerprint)[0] == head.names[scores[0].argmax()]
    if head.kind in CLASSES:
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
        assert auc(scores, codes) > 0.9


def test_the_same_seed_gives_the_same_head(head: FittedHead) -> None:
    vectors = part(head.kind, 2, 50).vectors
    again = fitted(head.kind).scores(vectors, ABOUT.fingerprint)
    np.testing.assert_array_equal(again, head.scores(vectors, ABOUT.fingerprint))


def test_it_comes_back_from_disk_bit_for_bit(head: FittedHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    back = load_head(tmp_path)
    assert (back.kind, back.names, back.about) == (head.kind, head.names, ABOUT)
    vectors = part(head.kind, 2, 50).vectors
    np.testing.assert_array_equal(back.scores(vectors, ABOUT.fingerprint), head.scores(vectors, ABOUT.fingerprint))
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".txt"}


def test_vectors_of_another_space_are_refused_with_both_fingerprints(head: FittedHead) -> None:
    vectors = part(head.kind, 2, 5).vectors
    with pytest.raises(FingerprintMismatch, match=f"{'a' * 64}.*{'b' * 64}"):
        head.scores(vectors, "b" * 64)
    with pytest.raises(InvalidInput, match=r"\[n, 12\].*\(5, 11\)"):
        head.predict(vectors[:, 1:], ABOUT.fingerprint)


def test_a_changed_file_is_refused(head: FittedHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    [file] = [path for path in tmp_path.iterdir() if path.suffix != ".json"]
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(FingerprintMismatch, match="SHA-256"):
        load_head(tmp_path)


def test_a_damaged_document_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no head"):
        load_head(tmp_path)
    fitted("logistic").save(tmp_path)
    document = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps({**document, "format": 99}))
    with pytest.raises(InvalidInput, match="format 99"):
        load_head(tmp_path)
    del document["fingerprint"]
    (tmp_path / "head.json").write_text(json.dumps(document))
    with pytest.raises(InvalidInput, match="fingerprint"):
        load_head(tmp_path)


def test_labels_are_text_of_any_kind_and_come_back_as_they_were() -> None:
    given = labelled(300, 2, 0)
    train = Labelled.from_labels(given.vectors, ["ja, später" if code else "nein" for code in given.codes])
    assert train.names == ("ja, später", "nein")
    head = fit("logistic", ABOUT, train, train)
    assert set(head.predict(given.vectors, ABOUT.fingerprint)) == {"ja, später", "nein"}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_that_the_training_users_lack_does_no_harm(kind: str) -> None:
    names = ("class 0", "class 1", "class 2", "class 9")
    given = [labelled(rows, 3, seed) for rows, seed in ((400, 0), (200, 1))]
    train, held = (Labelled.from_labels(one.vectors, [f"class {c}" for c in one.codes], names) for one in given)
    scores = fit(kind, ABOUT, train, held).scores(held.vectors, ABOUT.fingerprint)
    assert scores[:, 3].mean() < 0.05 and accuracy(scores, held.codes) > 0.8


@pytest.mark.parametrize("kind", CLASSES)
def test_examples_of_no_known_class_are_left_out(kind: str) -> None:
    train, held = labelled(400, 3, 0), labelled(200, 3, 1)
    unknown = Labelled.from_labels(held.vectors, ["something else"] * 200, train.names)
    assert (unknown.codes == -1).all()
    head = fit(kind, ABOUT, train, unknown)  # nobody is left to choose by
    assert accuracy(head.scores(held.vectors, ABOUT.fingerprint), held.codes) > 0.7


def test_the_strength_of_the_logistic_is_chosen_by_the_validation_users() -> None:
    """Labels that are noise to the training users: only a strong regularisation does no harm."""
    rng = np.random.default_rng(0)
    noise = [
        Labelled.from_labels(rng.normal(size=(60, DIMENSION)).astype(np.float32), rng.integers(2, size=60).astype(str))
        for _ in range(2)
    ]
    head = fit("logistic", ABOUT, *noise)
    loss = log_loss(head.scores(noise[1].vectors, ABOUT.fingerprint), noise[1].codes)
    assert loss == pytest.approx(np.log(2), abs=0.02)


def test_what_cannot_be_fitted_is_said() -> None:
    train = labelled(100, 3, 0)
    with pytest.raises(NotFound, match="logistic, mlp, two-tower"):
        fit("forest", ABOUT, train, train)
    with pytest.raises(InvalidInput, match="learn from Chosen, not Labelled"):
        fit("two-tower", ABOUT, train, train)
    with pytest.raises(InvalidInput, match="3 names"):
        fit("logistic", ABOUT, train, labelled(100, 2, 0))
    with pytest.raises(InvalidInput, match="13 dimensions"):
        fit("logistic", replace(ABOUT, dimension=13), train, train)
    with pytest.raises(InvalidInput, match=r"one or none.*'yes'"):
        Labelled.from_labels(train.vectors, ["yes"] * 100)
    with pytest.raises(InvalidInput, match="1 labels for 100"):
        Labelled.from_labels(train.vectors, ["yes"])


@pytest.mark.parametrize("sample", [30, 5])
def test_two_towers_learn_from_a_sample_of_the_items_too(sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_tower, "SAMPLE", sample)
    train, validation, test = chosen(600, 0), chosen(100, 1), chosen(200, 2)
    model = two_tower.TwoTower().fit(train, replace(validation, items=train.items), 0)
    assert ndcg(full_ranks(model.scores(test.vectors), test.item, test.hidden)).mean() > 0.8  # .15 by chance


def test_ridge_trusts_the_coordinates_that_vary_most_where_that_helps() -> None:
    """One coordinate tells the class and 99 small ones nothing: standardised, the small ones are as loud."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 400)
    vectors = 0.05 * rng.normal(size=(400, 100))
    vectors[:, 0] += codes * 2.0 - 1 + rng.normal(size=400)
    rows = Labelled(vectors.astype(np.float32), codes, ("a", "b"))
    parts = [Labelled(rows.vectors[part], codes[part], rows.names) for part in (slice(80), slice(80, 160))]
    model = kinds.get("logistic").fit(*parts, 0)
    tested = slice(160, None)
    ordered = auc(model.scores(rows.vectors[tested]), codes[tested])
    each = Scale.from_vectors(parts[0].vectors)
    loud = [Labelled(each.apply(part.vectors), part.codes, part.names) for part in parts]
    standardised = kinds.get("logistic").fit(*loud, 0).scores(each.apply(rows.vectors[tested]))
    assert ordered > 0.9 > auc(standardised, codes[tested])
