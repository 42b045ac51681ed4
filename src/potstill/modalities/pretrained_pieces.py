"""The word pieces of a pretrained encoder as texts are written in them, all or those that texts need."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np

from potstill.artifact.wordpiece import INSIDE, PAD, WordPiece
from potstill.modalities.vocabulary import NEEDED, read_vocabulary

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
