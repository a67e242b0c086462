"""From users to rows over the items of an artifact, and over those that were learnt since."""

from dataclasses import dataclass, replace
from typing import Self

import pyarrow as pa

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.training.blocks.blocks import BlockBuilder, Layout
from portrait.training.blocks.item_table import ItemTable
from portrait.training.blocks.prepare import PreparedRows, side_by_side
from portrait.training.encoding.arrays import Float32, Int64
from portrait.training.encoding.artifact import PRIOR, Content, Tensors
from portrait.training.encoding.later_items import new_item_vectors
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.modality.later import LaterItems
from portrait.training.modality.text import TextEncoder
from portrait.training.runs.training_inputs import TrainingInputs


@dataclass(frozen=True)
class RowBuilder:
    """Turns users into rows over the known items. Learning gives another one, so that no reader sees half."""

    batcher: Batcher
    builder: BlockBuilder
    later: LaterItems

    @classmethod
    def of_artifact(cls, content: Content) -> Self:
        """The builder of the rows that an artifact's model reads."""
        document = content.document
        layout = Layout.from_json(document["layout"])
        batcher = Batcher(
            InputSchema.from_json(document["schema"]),
            Vocabularies.from_json(document["vocabularies"], content.items),
            document["onboarding"],
        )
        trained = side_by_side([content.item_vectors[name] for name, _ in layout.modalities])
        text = TextEncoder(content.words, **content.text) if content.text else None
        later = LaterItems(layout.modalities, document.get("brought", ()), text)
        return cls(batcher, BlockBuilder(layout, ItemTable(layout.item_widths, trained)), later)

    @classmethod
    def of_prepared(cls, inputs: TrainingInputs, prepared: PreparedRows) -> Self:
        """The builder of the rows of a run, for other times than its as-of time."""
        layout = prepared.layout
        items = side_by_side([prepared.item_vectors[name] for name, _ in layout.modalities])
        batcher = Batcher(inputs.visible, prepared.vocabularies, inputs.onboarding)
        later = LaterItems(layout.modalities, (), None)  # nothing is learnt before a version is there
        return cls(batcher, BlockBuilder(layout, ItemTable(layout.item_widths, items)), later)

    @property
    def layout(self) -> Layout:
        return self.builder.layout

    @property
    def nbytes(self) -> int:
        """Memory of item vectors and text encoder."""
        return self.builder.items.nbytes + self.later.nbytes

    def build(self, users: pa.Table, as_of: int | Int64) -> Float32:
        """[n, width] rows of the users as of a time, or of a time each."""
        return self.builder.rows(self.batcher.arrays(users, as_of))

    def with_items(self, items: pa.Table) -> Self:
        """A builder that knows the items of these rows too, each from the first row that gives it a vector.

        Only the newest may learn further, by one thread at a time.
        """
        keys, vectors = new_item_vectors(items, self.batcher.items, self.later.vectors)
        if not keys:
            return self
        known = BlockBuilder(self.layout, self.builder.items.grown(vectors))
        return replace(self, batcher=self.batcher.knowing(keys), builder=known)


def block_content(
    family: str,
    revision: int,
    dimension: int,
    inputs: TrainingInputs,
    prepared: PreparedRows,
    weights: Tensors,
    prior: Float32,
    **document: object,
) -> Content:
    """The content of an artifact whose model reads rows: its weights and `document`, and all that makes the rows."""
    return Content(
        family=family,
        revision=revision,
        dimension=dimension,
        document={
            "schema": inputs.visible.to_json(),
            "onboarding": inputs.onboarding,
            "vocabularies": prepared.vocabularies.to_json(),
            "layout": prepared.layout.to_json(),
            "brought": prepared.brought,
            **document,
        },
        weights={**weights, PRIOR: prior},
        items=prepared.vocabularies.items.values,
        item_vectors=prepared.item_vectors,
        words=prepared.words,
        text=prepared.text,
    )
