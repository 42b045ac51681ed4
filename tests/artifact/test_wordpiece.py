"""Texts to ids of word pieces, against the library that made them up."""

from __future__ import annotations

import pickle
import time
import unicodedata
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from potstill.artifact.wordpiece import MOST_REMEMBERED, WordPiece

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?-'%$中文é"
VOCAB = (
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    *("the", "un", "##aff", "##able", "##ing", "play", "##ed", "run", "##ning", "straße", "##ss", "我", "σ"),
)
HOSTILE = (
    *("", " ", "\n\t\r", "\x00", "\ufffd", "\x1c\x0b\x85", "\u200b\u200d", "\u2028\u2029\u3000"),
    *("The unaffable, RUNNING plays!", "un-affable unaffablez", "don't", "50%$", "a  b", "a\xa0b", "\xad"),
    *("Café CAFÉ cafe\u0301", "İstanbul ISTANBUL ı", "STRASSE straße ẞ", "ΣΊΣΥΦΟΣ σς", "Ångström ﬁ"),
    *("我在中文里abc中", "㐀𠀀𪜀𫝀丽豈", "日本語カタカナ ｶﾞ ガ", "한국어", "العربية שלום", "हिन्दी ไทย"),
    *("👍🏽 👨‍👩‍👧 🇩🇪 ☃️", "\ue000", "¿qué? «no» „doch“ … – —", "©®™ € ¢ ± ²", "[CLS [MASK a", "##ing ing##"),
    *("a" * 100, "a" * 101, "z" * 99 + "é", "e\u0301" * 100, "the " * 200, "x." * 300),
)


@pytest.fixture(scope="module")
def wordpiece() -> WordPiece:
    return WordPiece(vocab=VOCAB)


def oracle(wordpiece: WordPiece) -> Any:
    transformers = pytest.importorskip("transformers")
    vocab = {piece: at for at, piece in enumerate(wordpiece.vocab)}
    return transformers.BertTokenizer(vocab=vocab, do_lower_case=wordpiece.lower)


def expected(tokenizer: Any, text: str, most: int) -> list[int]:
    ids: list[int] = tokenizer(text, truncation=True, max_length=most)["input_ids"]
    return ids


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("text", HOSTILE)
def test_ids_are_those_of_transformers(text: str, lower: bool) -> None:
    wordpiece = WordPiece(vocab=VOCAB, lower=lower)
    assert wordpiece.ids([text])[0].tolist() == expected(oracle(wordpiece), text, 128)


def is_old(character: str) -> bool:
    """Whether Unicode 3.2 knew it as today's does: the tables of that library are older than Python's."""
    return unicodedata.ucd_3_2_0.category(character) == unicodedata.category(character)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cn"], max_codepoint=0x1FFFF).filter(is_old), max_size=40)
)
def test_any_text_has_the_ids_of_transformers(text: str) -> None:
    # There, a special piece that is written out in a text is that piece; here it is text.
    assume(not any(piece in text for piece in VOCAB if piece.startswith("[") and len(piece) > 1))
    wordpiece = WordPiece(vocab=VOCAB)
    assert wordpiece.ids([text])[0].tolist() == expected(oracle(wordpiece), text, 128)


def test_rows_are_as_wide_as_the_longest_or_as_wanted(wordpiece: WordPiece) -> None:
    texts = ["the play", "", "the " * 500]
    assert wordpiece.ids(texts[:2]).shape == (2, 4)
    assert wordpiece.ids(texts).shape == (3, 128)
    assert wordpiece.ids([]).shape == (0, 2)
    wide = wordpiece.ids(texts, width=16)
    assert wide.shape == (3, 16)
    assert wide.dtype == np.int64
    the, play, end = (VOCAB.index(piece) for piece in ("the", "play", "[SEP]"))
    assert wide[:, :4].tolist() == [[3, the, play, end], [3, end, 0, 0], [3, the, the, the]]
    assert wide[2, -1] == end


def test_enormous_texts_take_no_longer_than_long_ones(wordpiece: WordPiece) -> None:
    texts = ["a" * 20_000_000, " " * 20_000_000, "é ß" * 5_000_000]
    begin = time.process_time()
    ids = wordpiece.ids(texts)
    assert time.process_time() - begin < 0.5
    assert ids[0].tolist()[:3] == [3, 2, 4]


def test_special_pieces_cannot_be_written_in_a_text(wordpiece: WordPiece) -> None:
    assert wordpiece.ids(["a[SEP]a"]).tolist() == wordpiece.ids(["a [ sep ] a"]).tolist()
    assert wordpiece.ids(["a[SEP]a"])[0].tolist().count(VOCAB.index("[SEP]")) == 1


def test_half_of_a_surrogate_pair_is_left_out(wordpiece: WordPiece) -> None:
    assert wordpiece.ids(["the\ud83d play"]).tolist() == wordpiece.ids(["the play"]).tolist()


def test_what_is_remembered_is_bounded_and_changes_nothing(wordpiece: WordPiece) -> None:
    words = [f"{number:x}" for number in range(MOST_REMEMBERED + 100)]
    first = wordpiece.ids(words[:200]).tolist()
    wordpiece.ids(words)
    assert len(wordpiece._cutter._known) <= MOST_REMEMBERED
    assert wordpiece.ids(words[:200]).tolist() == first


def test_it_travels_as_json_and_between_processes(wordpiece: WordPiece) -> None:
    wordpiece.ids(["the play"])
    for again in (
        msgspec.json.decode(msgspec.json.encode(wordpiece), type=WordPiece),
        pickle.loads(pickle.dumps(wordpiece)),
    ):
        assert again == wordpiece
        assert again.ids(["unaffable"]).tolist() == wordpiece.ids(["unaffable"]).tolist()
