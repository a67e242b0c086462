"""The tokenizer of item texts: byte-level BPE, trained on the catalogue, so that no text is ever unknown."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from portrait.training.encoding.arrays import Int64

PADDING = "<pad>"  # token 0
FEWEST = 2  # times that a pair of tokens has to occur to become one
CHUNK = 4096  # texts at once; the tokenizer returns much more of each than its tokens, which is dropped


class ItemTokenizer:
    """A trained tokenizer; the same text gives the same tokens for good."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a text that says "<pad>" is a text; not kept in the JSON

    @classmethod
    def fit(cls, texts: Iterable[str], vocabulary: int) -> Self:
        """Merge the most frequent pairs until there are `vocabulary` tokens, padding and the 256 bytes among them."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=FEWEST,
            special_tokens=[PADDING],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        described: str = self._tokenizer.to_str()
        return described

    def __len__(self) -> int:
        size: int = self._tokenizer.get_vocab_size()
        return size

    def encode(self, texts: Sequence[str], length: int) -> Int64:
        """int64 [n, length] tokens, cut off and padded with 0 at the right; a row of zeros for a blank text."""
        tokens = np.zeros((len(texts), length), dtype=np.int64)
        # A blank text would be the token of the space that is put before every text.
        written = [row for row, text in enumerate(texts) if text.strip()]
        for start in range(0, len(written), CHUNK):
            rows = written[start : start + CHUNK]
            encoded: list[Any] = self._tokenizer.encode_batch([texts[row] for row in rows], add_special_tokens=False)
            for row, one in zip(rows, encoded, strict=True):
                ids = one.ids[:length]
                tokens[row, : len(ids)] = ids
        return tokens
