"""The transformer that both encoders use: pre-norm, bidirectional, without biases and without dropout."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

EMBEDDING_DEVIATION = 0.02  # of new embeddings (GPT-2)


class Transformer(nn.Module):
    """Last hidden states float32 [rows, length, width] of inputs of that shape; `valid` bool [rows, length].

    Padding is never looked at. Nothing in here is random, so that running it again gives the same states: gradient
    caching relies on it.
    """

    def __init__(self, layers: int, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_Block(layers, width, heads, feed_forward) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """The states at padding are meaningless, but finite."""
        # A row of nothing but padding looks at its padding: over no place at all, some attention kernels give NaN.
        seen = valid | ~valid.any(dim=1, keepdim=True)
        mask = seen[:, None, None, :]  # [rows, 1, 1, length]: the same for every head and every looking place
        for block in self.blocks:
            x = block(x, mask)
        states: Tensor = self.norm(x)
        return states


def masked_mean(states: Tensor, valid: Tensor) -> Tensor:
    """[rows, width] mean over the valid places of [rows, length, width]; zeros for a row without any."""
    total = (states * valid[:, :, None]).sum(dim=1)
    return total / valid.sum(dim=1, keepdim=True).clamp_min(1)


def embedding(rows: int, width: int) -> nn.Embedding:
    """An embedding table, initialised with a deviation of 0.02."""
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=EMBEDDING_DEVIATION)
    return table


def places(length: int, table: nn.Embedding) -> Tensor:
    """[length, width] the learned positions 0 to length - 1; raises ValueError if there are fewer."""
    if length > table.num_embeddings:
        raise ValueError(f"a row of {length} places, but the model has {table.num_embeddings} positions: shorten it")
    positions: Tensor = table(torch.arange(length, device=table.weight.device))
    return positions


def linear(fan_in: int, fan_out: int, gain: float = 1.0) -> nn.Linear:
    """A matrix that keeps the size of what it maps, times `gain`."""
    layer = nn.Linear(fan_in, fan_out, bias=False)
    nn.init.normal_(layer.weight, std=gain * fan_in**-0.5)
    return layer


class _Block(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        into_stream = (2 * layers) ** -0.5  # 2 * layers additions together are as large as one (GPT-2)
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, bias=False)
        self.query_key_value = linear(width, 3 * width)
        self.attention_out = linear(width, width, into_stream)
        self.feed_forward_norm = nn.LayerNorm(width, bias=False)
        self.feed_forward_in = linear(width, feed_forward)
        self.feed_forward_out = linear(feed_forward, width, into_stream)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self._attend(self.attention_norm(x), mask)
        hidden: Tensor = self.feed_forward_out(gelu(self.feed_forward_in(self.feed_forward_norm(x))))
        return x + hidden

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, length, width = x.shape
        split = self.query_key_value(x).view(rows, length, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [rows, heads, length, width / heads]
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.attention_out(mixed.transpose(1, 2).reshape(rows, length, width))
        return out
