"""A step on a batch larger than memory, with negatives from all workers and exact gradients (GradCache, 2101.06983).

The loss needs the vectors of all users at once, but not their graphs. So: encode everything in chunks without graphs;
take the loss's gradient with respect to the vectors; run the encoders again, chunk by chunk, and push it through. It
is first summed at the item vectors, since a distinct item is encoded once however many sequences it stands in.
Items and sequences are encoded in groups of like length: most texts and histories are shorter than the longest.
"""

from collections.abc import Iterator
from contextlib import nullcontext

import torch
from torch import Tensor, distributed, nn

from portrait.training.clue.batch import Batch, Sequences
from portrait.training.clue.like_length import in_order, of_like_length
from portrait.training.clue.model import Clue


def step(
    model: Clue, objective: nn.Module, batch: Batch, chunk: int | None = None, world: int = 1, autocast: bool = False
) -> Tensor:
    """Add the gradients of this worker's share to the parameters; returns the whole batch's loss, equal on all workers.

    `chunk` tokens or events, padding included, have graphs at a time; None: all of them, which spares encoding twice.
    Fused attention on a GPU takes at most 65,535 rows in one call (pytorch issue 146704): more need chunks.
    `world` workers have shares of equal size and take part together; gradients are to be AVERAGED over them afterwards,
    as `portrait.training.runs.training_loop` does. `autocast` encodes in bfloat16; the loss is always float32.
    """
    item_vectors, views = encode(model, batch, chunk, autocast)
    loss, gradient = _loss(model, objective, views.detach(), batch, world)
    if chunk is None:
        torch.autograd.backward(views, gradient)
    else:
        _backward(model, batch, item_vectors, gradient, chunk, autocast)
    return loss


def encode(model: Clue, batch: Batch, chunk: int | None = None, autocast: bool = False) -> tuple[Tensor, Tensor]:
    """Item vectors [items, width] and the users' views [n, 2, dimension]; with a graph only if `chunk` is None."""
    sequences = batch.first.followed_by(batch.second)
    with nullcontext() if chunk is None else torch.no_grad():
        items = [(_items(model, tokens, autocast), rows) for tokens, rows in _texts(batch, chunk)]
        item_vectors = in_order(*_unzip(items))
        views = [(_views(model, part, item_vectors, autocast), rows) for part, rows in _parts(sequences, chunk)]
        both = in_order(*_unzip(views))
        return item_vectors, both.view(2, len(batch), -1).transpose(0, 1)


def _loss(model: Clue, objective: nn.Module, views: Tensor, batch: Batch, world: int) -> tuple[Tensor, Tensor]:
    """The loss over all workers' users, and its gradient with respect to this worker's views, times `world`.

    Every worker computes the whole loss, so the gradients of the temperature and of the objective's own parameters
    are complete on each and survive averaging. An encoder's are a sum over the workers, of which averaging takes the
    `world`-th part: hence the factor.
    """
    gathered = _gather(views, world).requires_grad_()
    users = None if batch.users is None else _gather(batch.users, world)
    categories = None if batch.categories is None else _gather(batch.categories, world)
    loss = objective(gathered, model.temperature(), users, categories)
    torch.autograd.backward(loss)
    assert gathered.grad is not None
    rank = distributed.get_rank() if world > 1 else 0
    return loss.detach(), gathered.grad[rank * len(views) : (rank + 1) * len(views)] * world


def _backward(model: Clue, batch: Batch, item_vectors: Tensor, gradient: Tensor, chunk: int, autocast: bool) -> None:
    item_vectors.requires_grad_()
    of_sequence = gradient.transpose(0, 1).flatten(0, 1)  # those of all first views, then of all second ones
    for part, rows in _parts(batch.first.followed_by(batch.second), chunk):
        torch.autograd.backward(_views(model, part, item_vectors, autocast), of_sequence[rows])
    assert item_vectors.grad is not None
    for tokens, rows in _texts(batch, chunk):
        torch.autograd.backward(_items(model, tokens, autocast), item_vectors.grad[rows])


# Each entry into autocast is its own: within one, weights cast without a graph would be used again with one.
def _items(model: Clue, tokens: Tensor, autocast: bool) -> Tensor:
    with torch.autocast(tokens.device.type, torch.bfloat16, enabled=autocast):
        return model.items(tokens).float()


def _views(model: Clue, sequences: Sequences, item_vectors: Tensor, autocast: bool) -> Tensor:
    with torch.autocast(item_vectors.device.type, torch.bfloat16, enabled=autocast):
        return model.services(sequences, item_vectors)


def _texts(batch: Batch, chunk: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    for rows, length in of_like_length((batch.tokens > 0).sum(dim=1), chunk):
        yield batch.tokens[rows, :length], rows


def _parts(sequences: Sequences, chunk: int | None) -> Iterator[tuple[Sequences, Tensor]]:
    for rows, length in of_like_length(sequences.lengths, chunk):
        yield sequences[rows].newest(length), rows


def _unzip(groups: list[tuple[Tensor, Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    return [vectors for vectors, _ in groups], [rows for _, rows in groups]


def _gather(tensor: Tensor, world: int) -> Tensor:
    """The rows of all workers, in the order of their ranks."""
    if world == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world)]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
