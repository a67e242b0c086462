"""A head: a fitted model that knows which vectors it was fitted on, and refuses all others.

head.json                        format, kind, classes or items, where from, what it scored, SHA-256 of the other file
weights.safetensors | trees.txt  the model; loading it runs no code
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from portrait.registry.errors import FingerprintMismatch, InvalidInput
from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.sealed_folder import file_digests, read_document, verify_file
from portrait.training.heads import kinds
from portrait.training.heads.examples import Chosen, Labelled
from portrait.training.heads.kinds import HeadModel

FORMAT = 1
DOCUMENT = "head.json"


@dataclass(frozen=True)
class About:
    """The version and the data that a head was fitted on, and its metrics."""

    version: str
    fingerprint: str  # of the vectors
    dimension: int
    task: str
    data_stamp: str  # of the training set
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FittedHead:
    """A light downstream model on the vectors of one version."""

    kind: str
    names: tuple[str, ...]  # classes, or keys of items, in the order of the columns of `scores`
    about: About
    model: HeadModel

    def scores(self, vectors: Float32, fingerprint: str) -> Float32:
        """float32 [n, names] of vectors float32 [n, d] that carry a fingerprint; probabilities where names are classes.

        Raises FingerprintMismatch, with both, for vectors of another space, InvalidInput for another dimension.
        """
        if fingerprint != self.about.fingerprint:
            raise FingerprintMismatch(
                f"the head was fitted on vectors of {self.about.version} with fingerprint {self.about.fingerprint}, "
                f"these have {fingerprint}: read the version that it was fitted on, or fit a head on this one"
            )
        if vectors.ndim != 2 or vectors.shape[1] != self.about.dimension:
            raise InvalidInput(f"the head takes vectors [n, {self.about.dimension}], these are {vectors.shape}")
        return self.model.scores(vectors)

    def predict(self, vectors: Float32, fingerprint: str) -> list[str]:
        """The best name of each vector; raises what `scores` raises."""
        best: list[str] = np.asarray(self.names)[self.scores(vectors, fingerprint).argmax(axis=1)].tolist()
        return best

    def save(self, folder: Path) -> None:
        """Write the artifact into an empty folder that exists; whoever shows it to readers renames the folder."""
        self.model.write(folder)
        document = {
            "format": FORMAT,
            "kind": self.kind,
            "names": list(self.names),
            **asdict(self.about),
            "files": file_digests(folder),
        }
        (folder / DOCUMENT).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def fit(kind: str, about: About, train: Labelled | Chosen, validation: Labelled | Chosen, seed: int = 0) -> FittedHead:
    """Fit a head of a kind on the training users; the validation users choose its settings, such as epochs.

    Raises NotFound for an unknown kind, InvalidInput where parts do not fit the kind, each other or `about`.
    """
    chosen = kinds.get(kind)
    for part in (train, validation):
        if not isinstance(part, chosen.examples):
            raise InvalidInput(f"heads of kind {kind} learn from {chosen.examples.__name__}, not {type(part).__name__}")
        if part.names != train.names or part.vectors.shape[1] != about.dimension:
            raise InvalidInput(
                f"a part has {len(part.names)} names and vectors {part.vectors.shape}: the head wants the "
                f"{len(train.names)} names of the training users and {about.dimension} dimensions"
            )
    return FittedHead(kind, train.names, about, chosen.fit(train, validation, seed))


def load_head(folder: Path) -> FittedHead:
    """The head of an artifact.

    Raises NotFound when there is none, InvalidInput when its document cannot be read or is of another format,
    FingerprintMismatch when a file was changed.
    """
    needed = {"kind", "names", "files", *About.__dataclass_fields__}
    document = read_document(folder / DOCUMENT, "head", FORMAT, needed)
    for name in document["files"]:
        verify_file(folder, document, name)
    about = About(**{name: document[name] for name in About.__dataclass_fields__})
    return FittedHead(document["kind"], tuple(document["names"]), about, kinds.get(document["kind"]).load(folder))
