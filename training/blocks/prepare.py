"""Preparation of a run over blocks: modality encoders, then the rows of all users in one file."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from portrait.registry.errors import InvalidInput
from portrait.registry.progress import Progress
from portrait.training.blocks.blocks import BlockBuilder, Layout, Pooling
from portrait.training.blocks.config import BlockConfig
from portrait.training.blocks.item_table import ItemTable
from portrait.training.blocks.moments import Moments
from portrait.training.encoding.arrays import Float32
from portrait.training.encoding.tensor_files import save_tensors
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.encoding.vocabulary import Vocabulary, catalogue_keys
from portrait.training.modality import Modality
from portrait.training.modality.collaborative import Cooccurrence, collaborative_modality
from portrait.training.modality.latent import Histories, latent_modality
from portrait.training.modality.ready import ready_modalities
from portrait.training.modality.text import NAME as TEXT
from portrait.training.modality.text import TextEncoder
from portrait.training.modality.text import fit as fit_text
from portrait.training.runs.survey import survey
from portrait.training.runs.training_inputs import TrainingInputs

ROWS = "rows.f32"
CHUNK = 8192  # users at a time
FEWEST_USERS = 10


def prepare(inputs: TrainingInputs, config: BlockConfig, folder: Path, progress: Progress) -> None:
    """Write rows, standardisation, vocabularies and item vectors into the folder."""
    vocabularies, users_per_item = survey(inputs, progress)
    modalities, text = fit_modalities(inputs, config, vocabularies, users_per_item, progress)
    vocabularies, modalities = _with_vectors(vocabularies, modalities)
    layout = _layout(inputs, config, vocabularies, modalities)
    builder = BlockBuilder(layout, ItemTable(layout.item_widths, side_by_side([m.vectors for m in modalities])))
    moments = Moments(layout)
    with (folder / ROWS).open("wb") as file:
        for rows in _rows(inputs, Batcher(inputs.visible, vocabularies, inputs.onboarding), builder, progress):
            moments.add(rows)
            rows.tofile(file)
    users = (folder / ROWS).stat().st_size // (4 * layout.width)
    if users < FEWEST_USERS:
        raise InvalidInput(
            f"{users} users have events or a profile before {inputs.as_of}, training needs {FEWEST_USERS}: "
            "ingest more events or choose a later --as-of"
        )
    save_tensors(moments.standardisation(_map_rows(folder, layout)), folder / "standardisation.safetensors")
    save_tensors({modality.name: modality.vectors for modality in modalities}, folder / "items.safetensors")
    save_tensors(text.tensors if text else {}, folder / "text.safetensors")
    document = {
        "layout": layout.to_json(),
        "vocabularies": vocabularies.to_json(),
        "items": vocabularies.items.values,
        "words": text.words if text else [],
        "brought": [modality.name for modality in modalities if modality.brought],
    }
    (folder / "prepared.json").write_text(json.dumps(document, ensure_ascii=False))


class PreparedRows:
    """The prepared data of a run, read from its folder."""

    def __init__(self, folder: Path) -> None:
        document = json.loads((folder / "prepared.json").read_text())
        self.layout = Layout.from_json(document["layout"])
        self.vocabularies = Vocabularies.from_json(document["vocabularies"], document["items"])
        self.standardisation: dict[str, Float32] = load_file(folder / "standardisation.safetensors")
        self.item_vectors: dict[str, Float32] = load_file(folder / "items.safetensors")
        self.words: list[str] = document["words"]
        self.text: dict[str, Float32] = load_file(folder / "text.safetensors")
        self.brought: list[str] = document["brought"]
        self.rows = _map_rows(folder, self.layout)

    def chunks(self) -> Iterator[Float32]:
        """The rows, not too many at a time."""
        for start in range(0, len(self.rows), CHUNK):
            yield np.array(self.rows[start : start + CHUNK])


def _map_rows(folder: Path, layout: Layout) -> Float32:
    """[users, width] the prepared rows, mapped from their file."""
    path = folder / ROWS
    shape = (path.stat().st_size // 4 // layout.width, layout.width)
    return np.memmap(path, np.float32, "r", shape=shape) if shape[0] else np.empty(shape, np.float32)


def side_by_side(vectors: list[Float32]) -> Float32:
    """The vectors of all modalities, [items, sum of their dimensions]."""
    return np.concatenate(vectors, axis=1) if vectors else np.empty((0, 0), dtype=np.float32)


def fit_modalities(
    inputs: TrainingInputs,
    config: BlockConfig,
    vocabularies: Vocabularies,
    users_per_item: np.ndarray,
    progress: Progress,
) -> tuple[list[Modality], TextEncoder | None]:
    """Modalities by name, and the text encoder where one is in use.

    Vectors that the user brings take the place of a fitted encoder of that name.
    """
    if config.item_dimension == 0:
        return [], None
    items = len(vocabularies.items)
    common = min(int((users_per_item >= config.min_item_users).sum()), config.max_items)  # the vocabulary's first ones
    cooccurrence = Cooccurrence(common, config.cooccurrence_window)
    histories = Histories(common)
    batcher = Batcher(replace(inputs.visible, profile=(), team=()), vocabularies, onboarding=False)
    for chunk in inputs.chunks(progress, "counting what goes together"):
        events = batcher.arrays(chunk, inputs.as_of_us).events
        cooccurrence.add(events.user, events.item)
        histories.add(events.user, events.item, len(chunk))
    codes = vocabularies.items.encode(catalogue_keys(inputs.catalogue))
    text = fit_text(inputs.catalogue, config.item_dimension, config.seed)
    fitted = [
        collaborative_modality(cooccurrence, config.item_dimension, config.seed, items),
        latent_modality(histories, config.item_dimension, config.seed, items),
        text.modality(inputs.catalogue, codes, items) if text else None,
    ]
    by_name = {
        modality.name: modality for modality in (*fitted, *ready_modalities(inputs.catalogue, codes, items)) if modality
    }
    in_use = TEXT in by_name and not by_name[TEXT].brought
    return [by_name[name] for name in sorted(by_name)], text if in_use else None


def _with_vectors(vocabularies: Vocabularies, modalities: list[Modality]) -> tuple[Vocabularies, list[Modality]]:
    """Keep the items that have a vector; the model cannot tell the others from unknown items."""
    known = np.zeros(len(vocabularies.items), dtype=bool)
    for modality in modalities:
        known |= ~np.isnan(modality.vectors[:, 0])
    kept = [value for value, keep in zip(vocabularies.items.values, known, strict=True) if keep]
    return (
        replace(vocabularies, items=Vocabulary(kept)),
        [replace(modality, vectors=modality.vectors[known]) for modality in modalities],
    )


def _layout(
    inputs: TrainingInputs, config: BlockConfig, vocabularies: Vocabularies, modalities: list[Modality]
) -> Layout:
    fields = (*inputs.visible.profile, *inputs.visible.team)
    return Layout(
        windows_days=config.windows_days,
        modalities=tuple((modality.name, modality.dimension) for modality in modalities),
        services=len(vocabularies.services),
        actions=len(vocabularies.actions),
        onboarding=inputs.onboarding,
        categories=tuple((f.name, len(vocabularies.categories[f.name])) for f in fields if f.kind == "category"),
        numbers=tuple(f.name for f in fields if f.kind == "number"),
        vectors=tuple((f.name, f.length) for f in fields if f.kind == "vector"),
        pooling=Pooling(config.pooling),
        latest_decay=config.latest_decay,
        all_time=config.all_time,
        regularity=config.regularity,
    )


def _rows(inputs: TrainingInputs, batcher: Batcher, builder: BlockBuilder, progress: Progress) -> Iterator[Float32]:
    """[n, width] rows of each chunk, without users of whom nothing is known."""
    for chunk in inputs.chunks(progress, "computing blocks"):
        rows = builder.rows(batcher.arrays(chunk, inputs.as_of_us))
        yield rows[~np.isnan(rows).all(axis=1)]
