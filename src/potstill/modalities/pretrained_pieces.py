"""The word pieces of a pretrained encoder: read from its folder, and cut down to those that texts need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from potstill.artifact.wordpiece import END, INSIDE, PAD, START, UNKNOWN, WordPiece
from potstill.errors import UserError

_NEEDED = (PAD, UNKNOWN, START, END)
_HINT = "Encoders of BERT's kind (BERT, DistilBERT, MiniLM, BGE, E5, GTE) have WordPiece vocabularies."
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
    folder = Path(folder)
    whole, plain = folder / "tokenizer.json", folder / "vocab.txt"
    if whole.is_file():
        vocab, lower = _of_tokenizer(_json(whole), whole)
    elif plain.is_file():
        vocab, lower = plain.read_text(encoding="utf-8").splitlines(), _says_lower(folder)
    else:
        raise UserError(
            f"{str(folder)!r} has no tokenizer: wanted a file tokenizer.json or vocab.txt.", hint=_HINT
        )
    absent = [piece for piece in _NEEDED if piece not in vocab]
    if absent:
        raise UserError(
            f"The vocabulary in {str(folder)!r} lacks {', '.join(absent)}: wanted one of word pieces.",
            hint=_HINT,
        )
    ordered = [PAD, *(piece for piece in vocab if piece != PAD)]
    return WordPiece(vocab=tuple(ordered), lower=lower, max_pieces=max_pieces)


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
        if is_letter or piece in _NEEDED:
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


def _of_tokenizer(tokenizer: Any, path: Path) -> tuple[list[str], bool]:
    """Pieces in the order of their ids, and whether letters are lowered."""
    model, normalizer = tokenizer.get("model") or {}, tokenizer.get("normalizer") or {}
    kind, cleaner = model.get("type", "WordPiece"), normalizer.get("type")
    ids = model.get("vocab")
    if kind != "WordPiece" or cleaner != "BertNormalizer" or not isinstance(ids, dict):
        raise UserError(
            f"The tokenizer in {str(path)!r} is {kind} after {cleaner}: wanted WordPiece after "
            "BertNormalizer.",
            hint=_HINT,
        )
    lower = bool(normalizer.get("lowercase", True))
    accents = normalizer.get("strip_accents")
    if accents is not None and accents != lower:
        raise UserError(
            f"The tokenizer in {str(path)!r} lowers letters {'but keeps' if lower else 'not but strips'} "
            "accents: wanted both or neither.",
            hint=_HINT,
        )
    ordered = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in ordered] != list(range(len(ordered))):
        raise UserError(f"The ids in {str(path)!r} have gaps: wanted 0 to {len(ordered) - 1}.", hint=_HINT)
    return ordered, lower


def _says_lower(folder: Path) -> bool:
    config = folder / "tokenizer_config.json"
    return bool(_json(config).get("do_lower_case", True)) if config.is_file() else True


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{str(path)!r} cannot be read as JSON: {error}.") from error
