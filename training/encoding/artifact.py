"""Artifacts: safetensors, JSON and Parquet in a folder. Loading one never runs code, and refuses any change.

manifest.json        format, family, fingerprint, dimension, and the SHA-256 of every other file
encoder.json         input schema, vocabularies, the family's own description
weights.safetensors  the model's tensors and the prior
items.parquet        service and item_id of each row of ...
items.safetensors    ... the item vectors
words.json           words of the text encoder, where there is one, and
text.safetensors     ... its numbers for each: what embeds the texts of items that appear later
probe.parquet        made-up users, and
probe.safetensors    their as-of times and vectors
run.json, metrics.jsonl, loss.png    how it was trained; not part of the fingerprint
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file

from portrait.registry.errors import FingerprintMismatch
from portrait.training.encoding.sealed_folder import SHOWN, file_digests, read_document, verify_file
from portrait.training.encoding.tensor_files import save_tensors

FORMAT = 1
MANIFEST = {"format", "family", "revision", "dimension", "fingerprint", "files"}
WORDS, TEXT = "words.json", "text.safetensors"
Tensors = dict[str, npt.NDArray[Any]]
PRIOR = "prior"


@dataclass(frozen=True)
class Content:
    """The content of an artifact, all that encoding needs; the fingerprint is a digest of it and of nothing else."""

    family: str
    revision: int  # of the family's encoding code
    dimension: int
    document: dict[str, Any]  # encoder.json
    weights: Tensors  # with "prior" [dimension] float32
    items: list[str]  # keys, one for each row of the item vectors
    item_vectors: Tensors
    words: list[str] = field(default_factory=list)  # of the text encoder; none in artifacts of earlier code
    text: Tensors = field(default_factory=dict)  # "idf" [words] and "components" [words, dimension] float32

    @property
    def fingerprint(self) -> str:
        """SHA-256 over meaning, not over files: names, shapes, numbers and canonical JSON."""
        digest = hashlib.sha256()
        head = [FORMAT, self.family, self.revision, self.dimension, self.document]
        digest.update(json.dumps(head, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode())
        for key in self.items:
            digest.update(key.encode() + b"\n")
        for group in (self.weights, self.item_vectors):
            _add_tensors(digest, group)
        if self.text:
            digest.update("\n".join(["text", *self.words, ""]).encode())
            _add_tensors(digest, self.text)
        return digest.hexdigest()


def save_content(folder: Path, content: Content) -> None:
    """Write the encoding part of an artifact."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from portrait.training.encoding.vocabulary import SEPARATOR

    (folder / "encoder.json").write_text(json.dumps(content.document, indent=1, sort_keys=True, ensure_ascii=False))
    save_tensors(content.weights, folder / "weights.safetensors")
    save_tensors(content.item_vectors, folder / "items.safetensors")
    if content.text:
        (folder / WORDS).write_text(json.dumps(content.words, ensure_ascii=False))
        save_tensors(content.text, folder / TEXT)
    keys = [key.split(SEPARATOR, 1) for key in content.items]
    columns = {"service": [service for service, _ in keys], "item_id": [item for _, item in keys]}
    table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))
    pq.write_table(table, folder / "items.parquet")


def seal(folder: Path, content: Content) -> str:
    """Write the manifest over all files of the folder; returns the fingerprint."""
    fingerprint = content.fingerprint
    manifest = {
        "format": FORMAT,
        "family": content.family,
        "revision": content.revision,
        "dimension": content.dimension,
        "fingerprint": fingerprint,
        "files": file_digests(folder),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return fingerprint


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact.

    Raises NotFound when there is none, InvalidInput when it cannot be read or is of another format.
    """
    return read_document(folder / "manifest.json", "artifact", FORMAT, MANIFEST)


def load_content(folder: Path, expected_fingerprint: str | None) -> Content:
    """The verified content of an artifact.

    Raises FingerprintMismatch, with both, when a file was changed, or when the content is not what was expected.
    """
    manifest = read_manifest(folder)
    for name in manifest["files"]:
        verify_file(folder, manifest, name)
    content = _content(folder, manifest)
    _expect(folder, content.fingerprint, manifest["fingerprint"])
    if expected_fingerprint is not None:
        _expect(folder, content.fingerprint, expected_fingerprint)
    return content


def found_fingerprint(folder: Path) -> str | None:
    """The fingerprint of the bytes that lie in an artifact's folder, verified or not; None when they cannot be read."""
    try:
        return _content(folder, read_manifest(folder)).fingerprint
    except Exception:  # whatever the readers of three formats raise for damaged bytes
        return None


def load_prior(folder: Path) -> npt.NDArray[np.float32]:
    """The vector of a user about whom nothing is known; needs neither torch nor the rest of the artifact."""
    verify_file(folder, read_manifest(folder), "weights.safetensors")
    with safe_open(folder / "weights.safetensors", framework="numpy") as weights:
        prior: npt.NDArray[np.float32] = weights.get_tensor(PRIOR)
    return prior


def _content(folder: Path, manifest: dict[str, Any]) -> Content:
    import pyarrow.parquet as pq

    from portrait.training.encoding.vocabulary import item_keys

    items = pq.read_table(folder / "items.parquet", partitioning=None)
    return Content(
        family=manifest["family"],
        revision=manifest["revision"],
        dimension=manifest["dimension"],
        document=json.loads((folder / "encoder.json").read_text()),
        weights=load_file(folder / "weights.safetensors"),
        items=item_keys(items["service"], items["item_id"]).to_pylist(),
        item_vectors=load_file(folder / "items.safetensors"),
        words=json.loads((folder / WORDS).read_text()) if WORDS in manifest["files"] else [],
        text=load_file(folder / TEXT) if TEXT in manifest["files"] else {},
    )


def _add_tensors(digest: "hashlib._Hash", tensors: Tensors) -> None:
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        digest.update(f"{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        digest.update(tensor.data)


def _expect(folder: Path, found: str, expected: str) -> None:
    if found != expected:
        raise FingerprintMismatch(
            f"the artifact at {folder} has fingerprint {found[:SHOWN]}, expected was {expected[:SHOWN]}: "
            "its vectors belong to another space"
        )
