"""Texts of items as tokens: byte-level BPE, trained on the catalogue, so that no text is ever unknown."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from training.arrays import Int64

PADDING = "<pad>"  # token 0
FEWEST = 2  # times that a pair of tokens has to occur to become one


class ItemTokenizer:
    """A trained tokenizer; the same text gives the same tokens for good."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

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
        """The tokenizer that `to_json` described."""
        return cls(Tokenizer.from_str(text))

    def to_json(self) -> str:
        """All that it is, as JSON."""
        described: str = self._tokenizer.to_str()
        return described

    def __len__(self) -> int:
        size: int = self._tokenizer.get_vocab_size()
        return size

    def encode(self, texts: Sequence[str], length: int) -> Int64:
        """int64 [n, length] tokens, cut off and padded with 0 at the right; a row of zeros for a blank text."""
        # A blank text would be the token of the space that is put before every text.
        shown = [text if text.strip() else "" for text in texts]
        encoded: list[Any] = self._tokenizer.encode_batch(shown, add_special_tokens=False)
        tokens = np.zeros((len(shown), length), dtype=np.int64)
        for row, (text, one) in enumerate(zip(shown, encoded, strict=True)):
            ids = one.ids[:length] if text else []
            tokens[row, : len(ids)] = ids
        return tokens
