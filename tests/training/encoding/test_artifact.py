"""Artifacts are immutable, and their fingerprint is over meaning."""

import hashlib
import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from portrait.registry.errors import FingerprintMismatch, InvalidInput, NotFound
from portrait.training.encoding.artifact import PRIOR, Content, found_fingerprint, load_content, load_prior, seal
from portrait.training.encoding.encoder import load_encoder
from portrait.training.runs.run import TrainedModel

COMMON = {
    "encoder.json", "weights.safetensors", "items.parquet", "items.safetensors", "probe.parquet", "probe.safetensors",
    "run.json", "metrics.jsonl", "loss.png",
}  # fmt: skip
WORDS = {"words.json", "text.safetensors"}
FILES = {"autoencoder": COMMON | WORDS, "clue": COMMON, "forecast": COMMON | WORDS}


@pytest.fixture
def artifact(either: TrainedModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(either.path, tmp_path / "artifact"))


def test_what_is_in_it(either: TrainedModel) -> None:
    manifest = json.loads((either.path / "manifest.json").read_text())
    assert set(manifest["files"]) == FILES[either.family]
    assert [manifest[name] for name in ("family", "dimension", "fingerprint")] == [either.family, 8, either.fingerprint]
    assert len(either.fingerprint) == 64
    assert (either.path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_its_files_are_as_readable_as_any_other(either: TrainedModel, tmp_path: Path) -> None:
    """A gateway may run as another user than the training."""
    (tmp_path / "other").touch()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in either.path.iterdir()}
    assert set(modes.values()) == {stat.S_IMODE((tmp_path / "other").stat().st_mode)}, modes


def test_a_changed_byte_is_refused(either: TrainedModel, artifact: Path) -> None:
    load_encoder(artifact)
    for name in FILES[either.family]:
        whole, expected = (artifact / name).read_bytes(), sha256(artifact / name)
        content = bytearray(whole)
        content[len(content) // 2] ^= 1
        (artifact / name).write_bytes(content)
        said = f"{name} was changed .* SHA-256 {sha256(artifact / name)}, expected was {expected}:"
        with pytest.raises(FingerprintMismatch, match=said):
            load_encoder(artifact)
        (artifact / name).write_bytes(whole)


def test_a_missing_file_is_refused(artifact: Path) -> None:
    had = sha256(artifact / "items.parquet")
    (artifact / "items.parquet").unlink()
    with pytest.raises(FingerprintMismatch, match=rf"items\.parquet is missing, it had SHA-256 {had}:"):
        load_encoder(artifact)


def test_another_fingerprint_is_refused(either: TrainedModel) -> None:
    load_encoder(either.path, either.fingerprint)
    with pytest.raises(
        FingerprintMismatch, match=f"has fingerprint {either.fingerprint[:12]}, expected was 000000000000"
    ):
        load_encoder(either.path, "0" * 64)


def test_weights_cannot_be_exchanged_under_a_forged_manifest(artifact: Path, either: TrainedModel) -> None:
    weights = load_file(artifact / "weights.safetensors")
    moved = {"autoencoder": "z_mean", "clue": "service_encoder.out.weight", "forecast": "middle"}[either.family]
    save_file({**weights, moved: weights[moved] + 1}, artifact / "weights.safetensors")
    reseal(artifact, either.fingerprint)
    forged = replace(load_content(either.path, None), weights=load_file(artifact / "weights.safetensors")).fingerprint
    refusal = f"has fingerprint {forged[:12]}, expected was {either.fingerprint[:12]}"
    with pytest.raises(FingerprintMismatch, match=refusal):
        load_encoder(artifact)
    assert found_fingerprint(artifact) == forged


@pytest.mark.parametrize("of", ["vectors", "users"])
def test_a_changed_probe_is_refused(artifact: Path, either: TrainedModel, of: str) -> None:
    """Even under a manifest that fits: the probe must come out as it did after training."""
    stored = load_file(artifact / "probe.safetensors")["vectors"]
    if of == "vectors":
        probe = load_file(artifact / "probe.safetensors")
        save_file({**probe, "vectors": probe["vectors"] + np.float32(0.01)}, artifact / "probe.safetensors")
    else:
        users = pq.read_table(artifact / "probe.parquet")
        place = users.column_names.index("onboarding_items")
        picks = pa.array([[]] * len(users), pa.list_(pa.string()))
        users = users.set_column(place, "onboarding_items", picks)
        unknown = pa.nulls(len(users), users["created_time"].type)  # of forecast's users all picked the same
        users = users.set_column(users.column_names.index("created_time"), "created_time", unknown)
        pq.write_table(users, artifact / "probe.parquet")
    reseal(artifact, either.fingerprint)
    expected = hashlib.sha256((stored + np.float32(0.01 if of == "vectors" else 0)).tobytes()).hexdigest()[:12]
    said = rf"encodes its probe to [0-9a-f]{{12}}, expected was {expected}; they are .* apart \(at most 0.0001\)"
    with pytest.raises(FingerprintMismatch, match=said) as refused:
        load_encoder(artifact, either.fingerprint)
    if of == "vectors":  # what it encodes to is what was stored before, on this very machine
        assert f"to {hashlib.sha256(stored.tobytes()).hexdigest()[:12]}," in str(refused.value)


def test_code_that_encodes_otherwise_is_refused(either: TrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"autoencoder": ("autoencoder.model.CLIP", 0.5), "clue": ("clue.histories.NO_EVENT", 86_400)}
    changed["forecast"] = ("blocks.standard_rows.CLIP", 0.5)
    name, value = changed[either.family]
    monkeypatch.setattr(f"portrait.training.{name}", value)
    with pytest.raises(FingerprintMismatch, match="would not belong to its space"):
        load_encoder(either.path, either.fingerprint)


def test_the_probe_is_nobody(model: TrainedModel) -> None:
    users = pq.read_table(model.path / "probe.parquet")
    assert all(user.startswith("probe-") for user in users["user_id"].to_pylist())
    assert users["country"].null_count == 1  # all categories and vectors take part, but for the blank user
    assert pa.compute.list_value_length(users["item_ids"]).to_pylist()[:2] == [0, 1]


def test_the_fingerprint_of_what_lies_there(artifact: Path, either: TrainedModel, tmp_path: Path) -> None:
    """It is over the content alone, and of the bytes that are there, not of what the manifest says."""
    assert found_fingerprint(artifact) == either.fingerprint
    (artifact / "probe.safetensors").unlink()
    assert found_fingerprint(artifact) == either.fingerprint
    items = pq.read_table(artifact / "items.parquet")
    pq.write_table(items.slice(1), artifact / "items.parquet")
    assert found_fingerprint(artifact) not in (None, either.fingerprint)
    (artifact / "weights.safetensors").write_bytes(b"nonsense")
    assert found_fingerprint(artifact) is None
    assert found_fingerprint(tmp_path / "nowhere") is None


def test_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no artifact at"):
        load_encoder(tmp_path)
    with pytest.raises(NotFound):
        load_prior(tmp_path)


def test_a_damaged_manifest(artifact: Path) -> None:
    (artifact / "manifest.json").write_text('{"format": 1')
    with pytest.raises(InvalidInput, match="damaged"):
        load_encoder(artifact)
    (artifact / "manifest.json").write_text('{"format": 1, "files": {}}')
    with pytest.raises(InvalidInput, match=r"damaged \(KeyError\('dimension', 'family', 'fingerprint', 'revision'\)"):
        load_encoder(artifact)
    (artifact / "manifest.json").write_text('{"format": 99}')
    with pytest.raises(InvalidInput, match="has format 99, this code reads 1"):
        load_encoder(artifact)


def test_the_fingerprint_is_over_content(model: TrainedModel) -> None:
    content = load_content(model.path, None)
    assert content.fingerprint == model.fingerprint
    other = [
        replace(content, family="clue"),
        replace(content, revision=content.revision + 1),
        replace(content, items=content.items[::-1]),
        replace(content, document={**content.document, "schema": {**content.document["schema"], "history_length": 9}}),
        replace(content, weights={**content.weights, "prior": content.weights["prior"] + 1}),
        replace(content, item_vectors={**content.item_vectors, "text": content.item_vectors["text"] + 1}),
        replace(content, words=content.words[::-1]),
        replace(content, text={**content.text, "idf": content.text["idf"] + 1}),
    ]
    assert len({each.fingerprint for each in (content, *other)}) == 1 + len(other)


def test_the_fingerprint_outlives_files(model: TrainedModel) -> None:
    """Written again, as another version of a library might, the same content has the same fingerprint."""
    content: Content = load_content(model.path, None)
    turned = dict(reversed(content.weights.items()))
    assert replace(content, weights=turned, document=json.loads(json.dumps(content.document))).fingerprint == (
        model.fingerprint
    )


def test_fingerprints_from_before_text_encoders_were_kept_stay() -> None:
    """What such a version's vectors are stored under must not change with the code."""
    tensors = ({PRIOR: np.zeros(2, np.float32)}, {"text": np.ones((1, 3), np.float32)})
    content = Content("autoencoder", 1, 2, {"layout": [1]}, tensors[0], ["music\x1fsong"], tensors[1])
    assert content.fingerprint == "2877584ac520db8a5d45dc7ff3939946c5b74467da6f80c2cfb27f4ff3473899"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def reseal(artifact: Path, fingerprint: str) -> None:
    """A manifest that fits the files, as a forger would write it."""
    family = json.loads((artifact / "manifest.json").read_text())["family"]
    (artifact / "manifest.json").unlink()
    seal(artifact, Content(family, 1, 8, json.loads((artifact / "encoder.json").read_text()), {}, [], {}))
    manifest = json.loads((artifact / "manifest.json").read_text())
    (artifact / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": fingerprint}))
