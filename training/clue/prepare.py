"""Preparation of a CLUE run: the tokenizer, the items as tokens, and the sequences of all users."""

import json
from copy import copy
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress
from portrait.training.clue.config import ClueConfig
from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.objective import ObjectiveName
from portrait.training.clue.tokenizer import ItemTokenizer
from portrait.training.clue.views import Views
from portrait.training.encoding.arrays import Int64
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.encoding.vocabulary import Vocabulary, catalogue_keys
from portrait.training.modality.text import documents
from portrait.training.modality.text import fit as fit_text
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs

FEWEST_USERS = 10
CATEGORIES = "categories.npy"
HISTORIES = tuple(field.name for field in fields(ServiceHistories))
FILES = ("prepared.json", *(f"{name}.npy" for name in ("tokens", *HISTORIES)))
TEXT_DIMENSION = 80  # of the text vectors that are clustered to categories


def prepare(inputs: TrainingInputs, config: ClueConfig, folder: Path, progress: Progress) -> None:
    """Write tokenizer, tokens, vocabularies and sequences into the folder; raises InvalidInput for too little data."""
    vocabularies, _ = survey(inputs, progress)
    vocabularies, catalogue = _with_text(vocabularies, inputs.catalogue)
    texts = documents(catalogue)
    progress("learning tokens", 0, 1)
    tokenizer = ItemTokenizer.fit(texts, config.vocabulary)
    tokens = tokenizer.encode(texts, config.text_length)
    progress("learning tokens", 1, 1)
    histories = _histories(inputs, config, vocabularies, progress)
    _require_enough(histories, config, inputs)
    for name, array in {"tokens": tokens, **histories.arrays()}.items():
        np.save(folder / f"{name}.npy", array)
    if config.objective == ObjectiveName.CATEGORY:
        np.save(folder / CATEGORIES, _categories(catalogue, config))
    document = {
        "vocabularies": vocabularies.to_json(),
        "items": vocabularies.items.values,
        "tokenizer": tokenizer.to_json(),
    }
    (folder / "prepared.json").write_text(json.dumps(document, ensure_ascii=False))


class PreparedSequences:
    """The prepared data of a run, read from its folder. Arrays stay memory-mapped, so that workers share them."""

    def __init__(self, folder: Path) -> None:
        document = json.loads((folder / "prepared.json").read_text())
        self.vocabularies = Vocabularies.from_json(document["vocabularies"], document["items"])
        self.tokenizer = ItemTokenizer.from_json(document["tokenizer"])
        self.tokens = _memory_map(folder / "tokens.npy")
        self.histories = ServiceHistories(**{name: _memory_map(folder / f"{name}.npy") for name in HISTORIES})
        self.categories = _memory_map(folder / CATEGORIES) if (folder / CATEGORIES).exists() else None

    @staticmethod
    def is_whole(folder: Path) -> bool:
        """Whether the folder has every file that is read; an older Portrait wrote fewer."""
        return all((folder / name).exists() for name in FILES)

    def cut(self, longest: int) -> "PreparedSequences":
        """A copy with the newest `longest` events of every sequence; the rest is shared."""
        other = copy(self)
        other.histories = self.histories.newest(longest)
        return other


def _memory_map(path: Path) -> Int64:
    return np.asarray(np.load(path, mmap_mode="r"))


def _require_enough(histories: ServiceHistories, config: ClueConfig, inputs: TrainingInputs) -> None:
    users = len(Views(histories, ObjectiveName(config.objective)).users)
    if users < FEWEST_USERS:
        raise InvalidInput(
            f"{users} users have two events or picks of items with text before {inputs.as_of}, which are compared; "
            f"training needs {FEWEST_USERS}: ingest items with their `text`, or choose a later --as-of"
        )


def _with_text(vocabularies: Vocabularies, catalogue: pa.Table) -> tuple[Vocabularies, pa.Table]:
    """The items that have a text, and their rows of the catalogue in the order of the vocabulary."""
    written = np.array([bool(text.strip()) for text in documents(catalogue)], dtype=bool)
    catalogue = catalogue.filter(pa.array(written))
    codes = vocabularies.items.encode(catalogue_keys(catalogue))
    kept, rows = np.unique(codes, return_index=True)
    items = Vocabulary(vocabularies.items.values[code] for code in kept.tolist())
    return replace(vocabularies, items=items, categories={}), catalogue.take(rows)


def _histories(
    inputs: TrainingInputs, config: ClueConfig, vocabularies: Vocabularies, progress: Progress
) -> ServiceHistories:
    batcher = Batcher(replace(inputs.visible, profile=(), team=()), vocabularies, inputs.onboarding)
    parts = [
        (ServiceHistories.from_arrays(batcher.arrays(users, inputs.as_of_us), config.sequence_length), users.num_rows)
        for users in inputs.chunks(progress, "reading sequences")
    ]
    return ServiceHistories.joined([part for part, _ in parts], [users for _, users in parts])


def _categories(catalogue: pa.Table, config: ClueConfig) -> Int64:
    """int64 [items] cluster of each item's text: catalogues rarely have categories that all services share."""
    from sklearn.cluster import MiniBatchKMeans  # late: it takes a second, and few runs need it

    encoder = fit_text(catalogue, TEXT_DIMENSION, config.seed)
    if encoder is None:
        raise InvalidInput(f"{catalogue.num_rows} item texts are too few words to make categories of")
    vectors = np.nan_to_num(encoder.vectors(catalogue))
    clusters = MiniBatchKMeans(min(config.categories, len(vectors)), n_init=3, random_state=config.seed)
    return np.asarray(clusters.fit_predict(vectors), dtype=np.int64)
