"""Texts: to words and, for students that read them, to word pieces; beside the columns of a table.

A text is cut at blanks into words, and each word at the first of a few punctuation marks, so that ``card?``
is ``card``. Letters without accents are lowered; a word with others is known in its usual spellings. All of
it is said in standard ONNX operators, in which neither a regular expression nor a locale can be relied on.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from potstill.artifact.values import joined, to_free_text
from potstill.artifact.wordpiece import WordPiece
from potstill.data.columns import arrow_column
from potstill.graph import Deferred, GraphBuilder
from potstill.modalities.tabular import TabularEncoder
from potstill.types import FeatureSpec, Schema, Tensors

MOST_WORDS = 256
"""Words of a text that are looked at, at most."""

MOST_KNOWN = 100_000
"""Different words that are told apart, at most; the rarest are left out."""

MARKS = '.,?!:;)"'
"""What a word may be cut at."""

SEPARATORS = "\n\t\r"
"""What may be between words beside blanks."""

MOST_PARTS = 4
"""Parts that one such separator cuts a word into, at most; what comes after them is not looked at."""

LEAST_MARKED = 0.002
"""Part of the words that must end with a mark before words are cut at it."""

LEAST_SEPARATED = 0.001
"""Part of the texts that must have a separator before texts are cut at it."""

_ENDED, _UNKNOWN, _FIRST_WORD = 0, 1, 2
_WORD = re.compile("[^ ]+")
_LOWERED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Words:
    """How a text is cut into words; the same for numpy and for the graph.

    Parameters
    ----------
    width
        T: words of a text that are looked at.
    marks
        Each word ends at the first of these; nothing may be left of it.
    separators
        What is between words beside blanks.
    """

    width: int
    marks: str = ""
    separators: str = ""

    @classmethod
    def fit(cls, texts: Sequence[str]) -> Words:
        """The marks and separators that these texts use, and as many words as the longest of them has."""
        separators = "".join(
            separator
            for separator in SEPARATORS
            if sum(separator in text for text in texts) > LEAST_SEPARATED * len(texts)
        )
        whole = cls(MOST_WORDS, separators=separators)
        counts = Counter(word for text in texts for word in whole.of(text))
        marks = "".join(mark for mark in MARKS if _is_attached(mark, counts))
        longest = max((len(whole.of(text)) for text in texts), default=1)
        return cls(max(1, longest), marks, separators)

    def of(self, text: str) -> list[str]:
        """At most ``width`` words; ``""`` where marks left nothing of one."""
        lowered = text.translate(_LOWERED)
        words: Iterable[str] = (found[0] for found in islice(_WORD.finditer(lowered), self.width))
        for separator in self.separators:
            words = [part for word in words for part in word.split(separator)[:MOST_PARTS]]
        if self.separators:
            words = islice(filter(None, words), self.width)
        return [self._cut(word) for word in words]

    def build(self, graph: GraphBuilder, texts: str) -> str:
        """Add the nodes of `of` for ``texts`` ``(n,)``; the result is ``(n, T')`` string, ``T' <= width``."""
        # StringNormalizer refuses a batch of no rows, and without any word there is no first part of one: a
        # row with a word is put before them, and taken away again.
        first = graph.constant(np.array(["-"], dtype=object))
        texts = graph.node("Concat", first, texts, axis=0)
        # Of all locales only C is everywhere, and it knows only the letters without accents.
        texts = graph.node(
            "StringNormalizer", texts, case_change_action="LOWER", is_case_sensitive=1, locale="C"
        )
        words = graph.nodes("StringSplit", texts, n_outputs=2, maxsplit=self.width)[0]
        words = _slice(graph, words, start=(0, 0), end=(_END, self.width))
        if self.separators:
            words = self._build_separated(graph, words)
        for mark in self.marks:
            parts = graph.nodes("StringSplit", words, n_outputs=2, delimiter=mark, maxsplit=1)[0]
            words = graph.node("Gather", parts, graph.constant(np.array([0], dtype=np.int64)), axis=-1)
        if self.marks:
            # Each has left an axis of one behind.
            words = graph.node("Reshape", words, graph.constant(np.array([0, 0], dtype=np.int64)))
        return _slice(graph, words, start=(1, 0), end=(_END, self.width))

    def _cut(self, word: str) -> str:
        for mark in self.marks:
            word = word.partition(mark)[0]
        return word

    def _build_separated(self, graph: GraphBuilder, words: str) -> str:
        """Add the nodes that cut words ``(n, T')`` at the separators and close the gaps that this leaves."""
        flat = graph.constant(np.array([0, -1], dtype=np.int64))
        for separator in self.separators:
            parts = graph.nodes("StringSplit", words, n_outputs=2, delimiter=separator, maxsplit=MOST_PARTS)[
                0
            ]
            parts = _slice(graph, parts, start=(0, 0, 0), end=(_END, _END, MOST_PARTS))
            words = graph.node("Reshape", parts, flat)
        empty = graph.node("Equal", words, graph.constant(np.array([""], dtype=object)))
        filled = graph.node("Cast", graph.node("Not", empty), to=TensorProto.INT64)
        place = graph.node("CumSum", filled, graph.constant(np.array(1, dtype=np.int64)))
        # The first word has the largest key; where there is none the key is 0.
        key = graph.node("Sub", graph.constant(np.array(1 << 40, dtype=np.int64)), place)
        key = graph.node("Mul", key, filled)
        longest = graph.node("ReduceMax", place, keepdims=0)
        longest = graph.node("Reshape", longest, graph.constant(np.array([1], dtype=np.int64)))
        order = graph.nodes("TopK", key, longest, n_outputs=2, axis=1)[1]
        return graph.node("GatherElements", words, order, axis=1)


@dataclass(frozen=True)
class TextEncoder:
    """The Encoder of rows with texts. Several text columns are joined by a blank.

    Parameters
    ----------
    schema
        The columns; those of other kinds are encoded as `TabularEncoder` does.
    known
        Words that have an id, most frequent first, those that no training text has at the end.
    words
        How texts are cut.
    tokenizer, n_pieces
        For students that read word pieces, and P, as many as the longest training text has.
    """

    schema: Schema
    known: tuple[str, ...]
    words: Words
    tokenizer: WordPiece | None = None
    n_pieces: int = 0

    @classmethod
    def fit(
        cls,
        schema: Schema,
        rows: nw.DataFrame[Any],
        *,
        more_rows: nw.DataFrame[Any] | None = None,
        tokenizer: WordPiece | None = None,
    ) -> TextEncoder:
        """Learn which words there are.

        Parameters
        ----------
        schema
            With one text column at least.
        rows
            Training rows.
        more_rows
            Rows without labels: their words count too.
        tokenizer
            Of a pretrained encoder, where students may be transformers: its words are known even where no
            text has them.
        """
        texts = joined_texts(rows, schema)
        more = [] if more_rows is None else joined_texts(more_rows, schema)
        words = Words.fit(texts)
        counts = Counter(word.lower() for text in [*texts, *more] for word in words.of(text) if word)
        others = () if tokenizer is None else whole_words(tokenizer)
        met = [word for word, _ in counts.most_common()]
        known = tuple(dict.fromkeys([*met, *others]))[:MOST_KNOWN]
        if tokenizer is None:
            return cls(schema, known, words)
        n_pieces = tokenizer.ids(texts).shape[1]
        # Whoever asks an artifact cuts a long text where training did.
        tokenizer = msgspec.structs.replace(tokenizer, max_pieces=n_pieces)
        return cls(schema, known, words, tokenizer, n_pieces)

    @property
    def spec(self) -> FeatureSpec:
        table = self._table.spec
        return FeatureSpec(
            numeric=table.numeric,
            categorical=table.categorical,
            cardinalities=table.cardinalities,
            monotone=table.monotone,
            words=self.known,
            pieces=() if self.tokenizer is None else self.tokenizer.vocab,
        )

    def encode(self, rows: nw.DataFrame[Any]) -> Tensors:
        """``words`` ``(n, T)`` int32, with a tokenizer ``pieces`` ``(n, P)`` int32, and the other columns'.

        In the middle of a text, a word of which marks left nothing is 0 too.

        Raises
        ------
        UserError
            A column is not there, or holds what cannot be read as its kind.
        """
        texts = joined_texts(rows, self.schema)
        words = np.zeros((len(texts), self.words.width), dtype=np.int32)
        for row, text in enumerate(texts):
            ids = [self._ids.get(word, _UNKNOWN) for word in self.words.of(text)]
            words[row, : len(ids)] = ids
        tensors: dict[str, NDArray[Any]] = {**self._table.encode(rows), "words": words}
        if self.tokenizer is not None:
            tensors["pieces"] = self.tokenizer.ids(texts, width=self.n_pieces).astype(np.int32)
        return tensors

    def build(self, graph: GraphBuilder) -> Mapping[str, str]:
        """Add the inputs of the other columns; those of the texts when ``words`` or ``pieces`` is looked up.

        ``words`` takes one STRING input a column, ``pieces`` one INT64 input ``(n, pieces)`` for all of them.
        """
        table = self._table.build(graph) if self._table.schema.columns else {}
        made = {name: _constant_maker(value) for name, value in table.items()}
        makers = {**made, "words": lambda: self._build_words(graph)}
        if self.tokenizer is not None:
            name = " ".join(text_columns(self.schema))
            makers["pieces"] = lambda: graph.input(name, TensorProto.INT64, ["n", "pieces"])
        return Deferred(makers)

    def _build_words(self, graph: GraphBuilder) -> str:
        columns = [graph.input(name, TensorProto.STRING, ["n"]) for name in text_columns(self.schema)]
        texts = columns[0]
        for column in columns[1:]:
            blank = graph.constant(np.array([" "], dtype=object))
            texts = graph.node("StringConcat", graph.node("StringConcat", texts, blank), column)
        return self.words.build(graph, texts)

    @property
    def _table(self) -> TabularEncoder:
        others = tuple(column for column in self.schema.columns if column.kind != "text")
        return TabularEncoder(Schema(others))

    @cached_property
    def _ids(self) -> Mapping[str, int]:
        """The id of every spelling of a known word, and of none."""
        ids = {"": _ENDED}
        for at, word in enumerate(self.known, start=_FIRST_WORD):
            ids |= dict.fromkeys(spellings(word), at)
        return ids


def whole_words(tokenizer: WordPiece) -> tuple[str, ...]:
    """The pieces that are words of two small letters or more."""
    return tuple(
        piece for piece in tokenizer.vocab if len(piece) > 1 and piece.isalpha() and piece == piece.lower()
    )


def text_columns(schema: Schema) -> tuple[str, ...]:
    """Names of the columns that hold texts."""
    return tuple(column.name for column in schema.columns if column.kind == "text")


def joined_texts(rows: nw.DataFrame[Any], schema: Schema) -> list[str]:
    """``n`` texts: those of all text columns, a blank between them; ``""`` where one is missing.

    Raises
    ------
    UserError
        A column is not there.
    """
    return joined(
        [
            [to_free_text(value) for value in arrow_column(rows, name).to_pylist()]
            for name in text_columns(schema)
        ]
    )


def spellings(word: str) -> tuple[str, ...]:
    """How a known word comes out of a graph that lowers the letters without accents only.

    >>> spellings("über")
    ('über', 'Über')
    """
    if word.isascii():
        return (word,)
    others = (word.capitalize().translate(_LOWERED), word.upper().translate(_LOWERED))
    return tuple(dict.fromkeys([word, *(other for other in others if other.lower() == word)]))


def _is_attached(mark: str, counts: Counter[str]) -> bool:
    """Whether a mark often ends a word, and seldom stands alone."""
    alone = counts[mark]
    ends = sum(count for word, count in counts.items() if word.endswith(mark)) - alone
    return ends > max(alone, LEAST_MARKED * counts.total())


def _constant_maker(value: str) -> Any:
    return lambda: value


def _slice(graph: GraphBuilder, value: str, *, start: Sequence[int], end: Sequence[int]) -> str:
    begin, stop = (graph.constant(np.array(bound, dtype=np.int64)) for bound in (start, end))
    return graph.node("Slice", value, begin, stop)
