"""Texts out of texts: words exchanged, parts cut out, two put together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np

from potstill.transfer.augment.near_words import near_words
from potstill.transfer.augment.rows import spread_parents
from potstill.types import TABLE_KINDS, ColumnKind, Dataset, Ints

MOST_EXCHANGED = 10_000
"""Words that are exchanged for what an encoder has for alike, the most frequent."""

MOST_LETTERS = 12_000_000
"""Of all real texts together; where they have more, new ones are made of an even part of them."""

_TRIES = 6
_MARKS = ".,?!:;()\"'"


class WordSwaps(msgspec.Struct, frozen=True):
    """New texts whose words are those of real ones.

    Each is made of a parent in one of three ways. Some words are left out, or exchanged for others that are
    met between the same words (see `near_words`) or, with a pretrained encoder, mean alike. Or it is a piece
    of the parent, of any length. Or it is the beginning of the parent and the end of another. The columns of
    a table beside the texts are the parent's. No new row equals a real one; where the texts leave no room for
    that, there are fewer rows than asked for.

    Parameters
    ----------
    exchanged
        Parts of the words that are exchanged or left out; each new row has one of them.
    left_out
        Of those words, the part that is left out.
    ways
        How often words are exchanged, a piece is cut out and two are put together, relatively.
    near
        Near words to draw from, of each kind.
    checkpoint
        Folder of a pretrained encoder: words are exchanged for what it has for alike too, also for words that
        no text has. None for none.

    References
    ----------
    Jiao et al. (2020), TinyBERT, section 3.2 (words exchanged, for distillation).
    Tang et al. (2019), Distilling Task-Specific Knowledge from BERT into Simple Neural Networks, section 3.2.
    """

    name: ClassVar[str] = "words"
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS | {"text"}

    exchanged: tuple[float, ...] = (0.15, 0.3, 0.5)
    left_out: float = 0.3
    ways: tuple[float, float, float] = (1.0, 1.0, 1.0)
    near: int = 10
    checkpoint: str | None = None

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """At most ``n_rows`` new rows, and ``(n,)`` the position of each one's parent in ``dataset``."""
        columns = [column.name for column in dataset.schema.columns if column.kind == "text"]
        if n_rows < 1 or len(dataset) < 3 or not columns:
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        rng = np.random.default_rng(seed)
        texts = _Texts.of(dataset.rows, columns, self.near, self.checkpoint)
        parents, made = [], []
        for parent in spread_parents(len(texts.rows), n_rows, rng).tolist():
            for _ in range(_TRIES):
                new = self._made(texts, parent, rng)
                if texts.is_new(new):
                    parents.append(int(texts.rows[parent]))
                    made.append(new)
                    break
        index = np.array(parents, dtype=np.int64)
        return _with_texts(dataset.rows, columns, index, made), index

    def _made(self, texts: _Texts, parent: int, rng: np.random.Generator) -> tuple[str | None, ...]:
        """The new row's texts, column by column; a missing one stays missing."""
        share = np.array(self.ways) / sum(self.ways)
        way = rng.choice(len(share), p=share)
        other = int(rng.integers(len(texts.words)))
        part = float(rng.choice(self.exchanged))
        made: list[str | None] = []
        for own, others in zip(texts.words[parent], texts.words[other], strict=True):
            if own is None:
                made.append(None)
            elif way == 0:
                made.append(" ".join(self._exchanged(own, texts.near, part, rng)))
            elif way == 1:
                made.append(" ".join(_piece(own, rng)))
            else:
                made.append(" ".join(_joined(own, others or [], rng)))
        return tuple(made)

    def _exchanged(
        self, words: Sequence[str], near: Mapping[str, list[str]], part: float, rng: np.random.Generator
    ) -> list[str]:
        changed = rng.random(len(words)) < part
        changed[rng.integers(len(words))] = True
        made = []
        for word, change in zip(words, changed.tolist(), strict=True):
            alike = near.get(_core(word)) if change else None
            if alike and rng.random() >= self.left_out:
                made.append(_dressed(alike[int(rng.integers(len(alike)))], word))
            elif not change or len(words) == 1:
                made.append(word)
        return made


@dataclass(frozen=True)
class _Texts:
    """The real texts, of very many an even part.

    Parameters
    ----------
    rows
        ``(m,)`` which they are.
    words
        For each of these and each text column its words; None where it is missing or has none.
    near
        Near words of each frequent word.
    known
        All rows, by the hash of their texts column by column.
    """

    rows: Ints
    words: list[list[list[str] | None]]
    near: Mapping[str, list[str]]
    known: frozenset[int]

    @classmethod
    def of(cls, rows: nw.DataFrame[Any], columns: Sequence[str], k: int, checkpoint: str | None) -> _Texts:
        values = ([_text(value) for value in rows[name].to_list()] for name in columns)
        texts = list(zip(*values, strict=True))
        letters = sum(len(text) for row in texts for text in row)
        step = max(1, math.ceil(letters / MOST_LETTERS))
        words = [[text.split() or None for text in row] for row in texts[::step]]
        cores = [[_core(word) for word in text] for row in words for text in row if text]
        known = frozenset(hash(tuple(_joined_words(text.split() or None) for text in row)) for row in texts)
        near = dict(near_words(cores, k))
        if checkpoint is not None:
            from potstill.transfer.augment.encoder_words import alike_words

            counts = Counter(word for text in cores for word in text if word.isalpha())
            frequent = [word for word, _ in counts.most_common(MOST_EXCHANGED)]
            for word, alike in alike_words(checkpoint, frequent, k).items():
                near[word] = [*near.get(word, []), *alike]
        return cls(np.arange(0, len(texts), step), words, near, known)

    def is_new(self, made: tuple[str | None, ...]) -> bool:
        """Whether something is left of each text, and no real row has the same."""
        return "" not in made and hash(made) not in self.known


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _joined_words(words: list[str] | None) -> str | None:
    return None if words is None else " ".join(words)


def _core(word: str) -> str:
    """A word without the marks around it, in small letters; of marks alone, these."""
    return word.strip(_MARKS).lower() or word


def _dressed(word: str, like: str) -> str:
    """``word`` with the marks and the capital letter of the word whose place it takes."""
    core = like.strip(_MARKS)
    if not core:
        return word
    before, _, after = like.partition(core)
    return before + (word.capitalize() if core[:1].isupper() else word) + after


def _piece(words: Sequence[str], rng: np.random.Generator) -> Sequence[str]:
    """Some words in a row, at least one, and not all where there are several."""
    length = int(rng.integers(1, max(2, len(words))))
    start = int(rng.integers(len(words) - length + 1))
    return words[start : start + length]


def _joined(words: Sequence[str], others: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The beginning of one text and the end of another."""
    own = int(np.ceil(len(words) * rng.uniform(0.3, 0.8)))
    begin = int(len(others) * rng.uniform(0.2, 0.7))
    return [*words[:own], *others[begin:]]


def _with_texts(
    rows: nw.DataFrame[Any], columns: Sequence[str], parents: Ints, made: Sequence[tuple[str | None, ...]]
) -> nw.DataFrame[Any]:
    """The parents' rows with new texts, in the caller's own kind of frame."""
    frame = nw.maybe_reset_index(rows[parents, :])
    backend = nw.get_native_namespace(rows)
    series = [
        nw.new_series(name, [texts[at] for texts in made], nw.String, backend=backend).cast(rows[name].dtype)
        for at, name in enumerate(columns)
    ]
    return frame.with_columns(*series)
