"""Texts to ids of word pieces, as BERT and its kin are fed: one string in, a row of whole numbers out.

A text is cleaned of control characters, its letters are lowered and stripped of accents, words are told
apart at spaces and punctuation, and every word is cut from the left into the longest pieces there are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import final

import msgspec
import numpy as np

from potstill.types import Ints

PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
"""The pieces every vocabulary has. `PAD` comes first: its id, 0, is what a row is filled up with."""

INSIDE = "##"
"""How a piece begins that does not begin a word."""

LONGEST_WORD = 100
"""Letters of a word that is looked at; a longer one is `UNKNOWN`."""

CHARACTERS_A_PIECE = 64
"""Of a text, so many characters are looked at for each piece there may be: more than any language needs."""

MOST_REMEMBERED = 50_000
"""Words whose pieces are kept in mind."""

_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
"""Chinese characters, each of which is a word."""


class WordPiece(msgspec.Struct, frozen=True, dict=True):
    """A vocabulary of word pieces, and how texts are written in it.

    Parameters
    ----------
    vocab
        The piece of each id; `PAD` first, and `UNKNOWN`, `START` and `END` somewhere. A piece that begins
        with ``##`` goes on with a word.
    lower
        Whether letters are lowered and stripped of their accents.
    max_pieces
        Of a text, with the two at its ends; what comes after them is not read.

    References
    ----------
    Devlin et al. (2019), BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding.
    """

    vocab: tuple[str, ...]
    lower: bool = True
    max_pieces: int = 128

    def ids(self, texts: Sequence[str], width: int | None = None) -> Ints:
        """The pieces of each text, `START` before and `END` after them.

        Parameters
        ----------
        texts
            ``n`` of them, of any length.
        width
            P, at least 2; longer texts are cut. None: as wide as the longest text needs.

        Returns
        -------
        ``(n, P)`` int64, filled up with 0; ``P`` is at most ``max_pieces`` where no ``width`` is given.
        """
        most = self.max_pieces if width is None else width
        rows = [self._cutter.row(text, most) for text in texts]
        table = np.zeros((len(rows), width or max(map(len, rows), default=2)), dtype=np.int64)
        for at, row in enumerate(rows):
            table[at, : len(row)] = row
        return table

    @cached_property
    def _cutter(self) -> _Cutter:
        return _Cutter(self.vocab, lower=self.lower)


def words_of(text: str, *, lower: bool = True) -> list[str]:
    """The words, punctuation marks and Chinese characters of a text, cleaned."""
    if lower and not text.isascii():
        text = unicodedata.normalize("NFD", text)
    return [word for word in text.translate(_CHARACTERS[lower]).split(" ") if word]


@final
class _Cutter:
    """The vocabulary by piece, and the words that were cut already; safe to share between threads."""

    def __init__(self, vocab: Sequence[str], *, lower: bool) -> None:
        self._id = {piece: at for at, piece in enumerate(vocab)}
        self._longest = max(map(len, vocab))
        self._lower = lower
        self._known: dict[str, list[int]] = {}

    def row(self, text: str, most: int) -> list[int]:
        """At most ``most`` ids, the two at the ends included."""
        row = [self._id[START]]
        for word in words_of(text[: most * CHARACTERS_A_PIECE], lower=self._lower):
            row += self._known.get(word) or self._cut(word)
            if len(row) >= most:
                break
        return [*row[: most - 1], self._id[END]]

    def _cut(self, word: str) -> list[int]:
        """A word into the longest pieces there are, from the left."""
        pieces = self._pieces(word)
        if len(self._known) >= MOST_REMEMBERED:
            self._known = {}
        self._known[word] = pieces
        return pieces

    def _pieces(self, word: str) -> list[int]:
        unknown = [self._id[UNKNOWN]]
        if len(word) > LONGEST_WORD:
            return unknown
        pieces: list[int] = []
        begin = 0
        while begin < len(word):
            inside = INSIDE if begin else ""
            for end in range(min(len(word), begin + self._longest), begin, -1):
                piece = self._id.get(inside + word[begin:end])
                if piece is not None:
                    break
            else:
                return unknown
            pieces.append(piece)
            begin = end
        return pieces


@final
class _Characters(dict[int, str]):
    """What becomes of each character, for ``str.translate``; worked out when it is first met.

    Nothing of control characters and, where letters are lowered, of accents; a space of every kind of
    space; a word of its own of punctuation and of Chinese characters.
    """

    def __init__(self, *, lower: bool) -> None:
        super().__init__()
        self._lower = lower

    def __missing__(self, code: int) -> str:
        self[code] = becomes = self._becomes(code)
        return becomes

    def _becomes(self, code: int) -> str:
        character, category = chr(code), unicodedata.category(chr(code))
        if character in "\t\n\r":
            return " "
        # Not Cn: which characters are not assigned yet depends on the version of Python.
        if code in (0, 0xFFFD) or category in ("Cc", "Cf", "Cs", "Co"):
            return ""
        if character.isspace():
            return " "
        if self._lower and category == "Mn":
            return ""
        is_symbol = code < 0x80 and not character.isalnum()
        if is_symbol or category[0] == "P" or any(low <= code <= high for low, high in _IDEOGRAPHS):
            return f" {character} "
        return character.lower() if self._lower else character


_CHARACTERS = {lower: _Characters(lower=lower) for lower in (False, True)}
