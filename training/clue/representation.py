"""The loaded CLUE model: users to the normalised mean of their services' vectors."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from portrait.feature_repo.declaration.input_schema import InputSchema
from portrait.registry.progress import Progress, silent
from portrait.training.clue.histories import ServiceHistories
from portrait.training.clue.like_length import of_like_length
from portrait.training.clue.model import Clue, Shape
from portrait.training.clue.tokenizer import ItemTokenizer
from portrait.training.encoding.arrays import Bool, Float32, Int64
from portrait.training.encoding.artifact import PRIOR, Content
from portrait.training.encoding.later_items import GrowingRows, new_item_vectors
from portrait.training.encoding.user_batch import Batcher, Vocabularies
from portrait.training.modality.text import documents

ITEMS = "text"  # name of the item vectors in the artifact
PLACES = 32_768  # tokens or events that are encoded at once, padding included; bounds memory


class ClueRepresentation:
    """Sequences on the CPU, transformers and item vectors on the device."""

    window_days: tuple[int, ...] = ()  # nothing moves while nothing happens: gaps lie between events

    def __init__(self, content: Content, device: str) -> None:
        document = content.document
        shape = Shape(**document["shape"])
        batcher = Batcher(
            InputSchema.from_json(document["schema"]),
            Vocabularies.from_json(document["vocabularies"], content.items),
            document["onboarding"],
        )
        self.clue = Clue(shape)
        self.clue.load_state_dict({k: torch.from_numpy(v) for k, v in content.weights.items() if k != PRIOR})
        self.clue.eval().requires_grad_(False).to(device)
        self._tokenizer = ItemTokenizer.from_json(document["tokenizer"])
        self._known = KnownItems(batcher, GrowingRows(torch.from_numpy(content.item_vectors[ITEMS]).to(device)))
        self._weight_bytes = sum(tensor.nbytes for tensor in content.weights.values())

    @property
    def nbytes(self) -> int:
        """Memory of weights and item vectors."""
        return self._weight_bytes + self._known.items.nbytes

    def represent(self, users: pa.Table, as_of: Int64) -> tuple[Float32, Bool]:
        """Vectors [n, dimension], and bool [n]: whether the user has an event or pick of an item with a text."""
        known = self._known
        histories = ServiceHistories.from_arrays(known.batcher.arrays(users, as_of), self.clue.shape.sequence_length)
        vectors = portraits(self.clue, histories, known.items.rows, histories.user, users.num_rows)
        return vectors, np.bincount(histories.user, minlength=users.num_rows) > 0

    def learn(self, items: pa.Table) -> None:
        """Learn the items that are not known yet, each from the first of its rows that has a text."""
        keys, vectors = new_item_vectors(items, self._known.batcher.items, self._vectors)
        if keys:
            self._known = self._known.knowing(keys, vectors)

    def _vectors(self, items: pa.Table) -> Float32:
        """[n, width] vectors of rows of the catalogue, NaN where an item has no text."""
        tokens = self._tokenizer.encode(documents(items), self.clue.shape.text_length)
        vectors = item_vectors(self.clue, tokens)
        vectors[~(tokens > 0).any(axis=1)] = np.nan
        return vectors


@dataclass(frozen=True)
class KnownItems:
    """The known items with their vectors. Learning replaces it as a whole, so that no reader sees half."""

    batcher: Batcher
    items: GrowingRows

    def knowing(self, keys: list[str], vectors: Float32) -> "KnownItems":
        """The known items and these further ones. Only the newest may be extended, by one thread at a time."""
        return KnownItems(self.batcher.knowing(keys), self.items.grown(torch.from_numpy(vectors)))


def item_vectors(clue: Clue, tokens: Int64, progress: Progress = silent) -> Float32:
    """float32 [items, width] of token ids [items, text_length]."""
    device = clue.log_temperature.device
    vectors = np.empty((len(tokens), clue.shape.width), dtype=np.float32)
    done = 0
    with torch.inference_mode():
        for rows, length in of_like_length(torch.from_numpy((tokens > 0).sum(axis=1)), PLACES):
            part = torch.from_numpy(tokens[rows.numpy(), :length]).to(device)
            vectors[rows.numpy()] = clue.items(part).cpu().numpy()
            done += len(rows)
            progress("encoding items", done, len(tokens))
    return vectors


def portraits(
    clue: Clue, histories: ServiceHistories, items: Tensor, owner: Int64, users: int, progress: Progress = silent
) -> Float32:
    """float32 [users, dimension] by the sequences of each; zeros for a user without any.

    `owner` [k] is the row of the user of each sequence, `items` [n, width] the vectors of the item codes, which lie
    where the model does.
    """
    vectors = torch.zeros(len(histories), clue.shape.dimension)
    done = 0
    with torch.inference_mode():
        for rows, _ in of_like_length(torch.from_numpy(histories.lengths), PLACES):
            begins, ends = histories.starts[:-1][rows.numpy()], histories.starts[1:][rows.numpy()]
            vectors[rows] = clue.services(histories.padded(begins, ends).to(items.device), items).cpu()
            done += len(rows)
            progress("encoding sequences", done, len(histories))
        found: Float32 = clue.portrait(vectors, torch.from_numpy(owner), users).numpy()
    return found
