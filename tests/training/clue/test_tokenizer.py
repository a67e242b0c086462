"""Texts as tokens: nothing is unknown, and the same text gives the same tokens for good."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait.training.clue import tokenizer as module
from portrait.training.clue.tokenizer import PADDING, ItemTokenizer

TEXTS = ["Forest river song", "forest moss song", "the orbit of a comet", "comet song", "", "ÀÉ forest"] * 3
VOCABULARY = 300


@pytest.fixture(scope="module")
def tokenizer() -> ItemTokenizer:
    return ItemTokenizer.fit(TEXTS, VOCABULARY)


def said(tokenizer: ItemTokenizer, text: str) -> str:
    """The text back from its tokens."""
    tokens = tokenizer.encode([text], 4 * len(text.encode()) + 4)[0]
    decoded: str = tokenizer._tokenizer.decode(tokens[tokens > 0].tolist(), skip_special_tokens=False)
    return decoded.removeprefix(" ")


@given(text=st.text(min_size=1).filter(lambda text: text.strip()))
def test_any_text_is_known(tokenizer: ItemTokenizer, text: str) -> None:
    normal = tokenizer._tokenizer.normalizer.normalize_str(text)
    assert said(tokenizer, text) == normal.removeprefix(" ")
    tokens = tokenizer.encode([text], 4)
    assert tokens.dtype == np.int64 and tokens[0, 0] > 0 and tokens.max() < len(tokenizer) <= VOCABULARY


@pytest.mark.parametrize("text", ["🦊🎉", "日本語", "Ω≈ç√", "\x00", PADDING, f"a {PADDING} b"])
def test_what_it_has_never_seen_is_told_apart(tokenizer: ItemTokenizer, text: str) -> None:
    tokens = tokenizer.encode([text, "forest"], 30)
    length = int((tokens[0] > 0).sum())
    assert length and (tokens[0, :length] > 0).all() and (tokens[0] != tokens[1]).any()
    assert said(tokenizer, text) == text.lower()


def test_frequent_words_are_one_token(tokenizer: ItemTokenizer) -> None:
    tokens = tokenizer.encode(["forest song", "FOREST  song", "tserof gnos"], 20)
    assert (tokens[0] > 0).sum() == 2 and (tokens[2] > 0).sum() > 5
    assert tokens[1, 0] == tokens[0, 0]  # case does not matter


def test_blank_texts_have_no_token_and_long_ones_are_cut(tokenizer: ItemTokenizer) -> None:
    tokens = tokenizer.encode(["", " \t\n", "\u3000", "forest " * 50, "comet"], 3)
    assert tokens.shape == (5, 3) and not tokens[:3].any()
    assert (tokens[3] > 0).all() and tokens[4, 0] > 0 and not tokens[4, 1:].any()
    assert tokenizer.encode([], 3).shape == (0, 3)


def test_many_texts_come_as_they_do_alone(tokenizer: ItemTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tokenizer.encode(TEXTS, 5)
    monkeypatch.setattr(module, "CHUNK", 4)
    np.testing.assert_array_equal(tokenizer.encode(TEXTS, 5), whole)
    np.testing.assert_array_equal(np.concatenate([tokenizer.encode([text], 5) for text in TEXTS]), whole)


def test_the_least_vocabulary_is_padding_and_the_bytes() -> None:
    tokenizer = ItemTokenizer.fit(TEXTS, 257)
    assert len(tokenizer) == 257
    assert said(tokenizer, "comet 🦊") == "comet 🦊"
    assert len(ItemTokenizer.fit([], 400)) == 257  # nothing to merge


def test_it_comes_back_from_its_json(tokenizer: ItemTokenizer) -> None:
    again = ItemTokenizer.from_json(tokenizer.to_json())
    texts = [*TEXTS, PADDING, "🦊 comet"]
    np.testing.assert_array_equal(again.encode(texts, 9), tokenizer.encode(texts, 9))
    assert again.to_json() == tokenizer.to_json() and len(again) == len(tokenizer)


def test_another_process_learns_the_same_tokens(tokenizer: ItemTokenizer) -> None:
    code = (
        "from portrait.training.clue.tokenizer import ItemTokenizer\n"
        f"print(ItemTokenizer.fit({TEXTS[::-1]!r}, {VOCABULARY}).to_json(), end='')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == tokenizer.to_json()
