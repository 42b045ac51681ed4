"""The word pieces of a pretrained encoder as texts are written in them, all or those that texts need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from potstill.artifact.wordpiece import INSIDE, PAD, WordPiece, words_of
from potstill.modalities.vocabulary import NEEDED, read_vocabulary

LONGEST_ENDING = 5
"""Letters of an ending that is a piece of its own."""

_TEXTS_AT_ONCE = 1_000


def wordpiece_of(folder: Path | str, *, max_pieces: int = 128) -> WordPiece:
    """The tokenizer of a Hugging Face folder, from its ``tokenizer.json`` or ``vocab.txt``.

    Parameters
    ----------
    folder
        Of a pretrained encoder.
    max_pieces
        Pieces of a text that are read; as many as the encoder has positions at most.

    Raises
    ------
    UserError
        There is no tokenizer, or it is not WordPiece.
    """
    pieces, lower = read_vocabulary(folder)
    ordered = (PAD, *(piece for piece in pieces if piece != PAD))
    return WordPiece(vocab=ordered, lower=lower, max_pieces=max_pieces)


def fresh_wordpiece(texts: Sequence[str], *, most: int = 8_000, max_pieces: int = 128) -> WordPiece:
    """A vocabulary of word pieces for ``texts`` where there is no pretrained one.

    It has every letter, the words that occur most often, and the commonest endings of all words.

    Parameters
    ----------
    texts
        Training texts.
    most
        Words, and a quarter as many endings, at most.
    max_pieces
        As in `potstill.artifact.wordpiece.WordPiece`.
    """
    counts = Counter(word for text in texts for word in words_of(text))
    letters = sorted({letter for word in counts for letter in word})
    endings: Counter[str] = Counter()
    for word, count in counts.items():
        endings.update(
            {word[at:]: count for at in range(1, len(word) - 1) if len(word) - at <= LONGEST_ENDING}
        )
    whole = [word for word, count in _commonest(counts, most) if count > 1 and len(word) > 1]
    parts = [ending for ending, count in _commonest(endings, most // 4) if count > 1]
    pieces = (*NEEDED, *letters, *(INSIDE + part for part in (*letters, *parts)), *whole)
    return WordPiece(vocab=tuple(dict.fromkeys(pieces)), max_pieces=max_pieces)


def narrowed(wordpiece: WordPiece, texts: Iterable[str], *, most_frequent: int = 0) -> WordPiece:
    """``wordpiece`` with only the pieces that ``texts`` are written in and what spells all other words.

    ``texts`` are written as before: the longest pieces of their words are still there. Other words fall
    apart into shorter pieces, into single letters at worst.

    Parameters
    ----------
    wordpiece
        The whole vocabulary.
    texts
        Training texts.
    most_frequent
        So many pieces from the vocabulary's beginning are kept as well: vocabularies begin with what is
        frequent in the language.
    """
    keep = np.zeros(len(wordpiece.vocab), dtype=np.bool_)
    for batch in _batches(texts):
        keep[np.unique(wordpiece.ids(batch))] = True
    for at, piece in enumerate(wordpiece.vocab):
        is_letter = len(piece.removeprefix(INSIDE)) == 1
        if is_letter or piece in NEEDED:
            keep[at] = True
    words = [at for at, piece in enumerate(wordpiece.vocab) if not _is_reserved(piece)]
    keep[words[:most_frequent]] = True
    kept = tuple(piece for piece, stays in zip(wordpiece.vocab, keep, strict=True) if stays)
    return msgspec.structs.replace(wordpiece, vocab=kept)


def _commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """The most frequent, in an order that does not depend on that of the texts."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def _is_reserved(piece: str) -> bool:
    return piece.startswith("[") and piece.endswith("]")


def _batches(texts: Iterable[str]) -> Iterable[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
