"""The word pieces that a pretrained encoder knows, as its folder says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from potstill.artifact.wordpiece import END, PAD, START, UNKNOWN
from potstill.errors import UserError

NEEDED = (PAD, UNKNOWN, START, END)
_HINT = "Encoders of BERT's kind (BERT, MiniLM, BGE, E5, GTE) have WordPiece vocabularies."


class Vocabulary(NamedTuple):
    """What an encoder's tokenizer knows.

    Parameters
    ----------
    pieces
        The piece of each row of the embedding table.
    lower
        Whether letters are lowered and stripped of their accents.
    """

    pieces: tuple[str, ...]
    lower: bool


def read_vocabulary(folder: Path | str) -> Vocabulary:
    """The vocabulary in a Hugging Face folder, from its ``tokenizer.json`` or ``vocab.txt``.

    Raises
    ------
    UserError
        There is no tokenizer, or it is not WordPiece.
    """
    folder = Path(folder)
    whole, plain = folder / "tokenizer.json", folder / "vocab.txt"
    if whole.is_file():
        pieces, lower = _of_tokenizer(_json(whole), whole)
    elif plain.is_file():
        pieces, lower = plain.read_text(encoding="utf-8").splitlines(), _says_lower(folder)
    else:
        raise UserError(
            f"{str(folder)!r} has no tokenizer: wanted a file tokenizer.json or vocab.txt.", hint=_HINT
        )
    absent = [piece for piece in NEEDED if piece not in pieces]
    if absent:
        raise UserError(
            f"The vocabulary in {str(folder)!r} lacks {', '.join(absent)}: wanted one of word pieces.",
            hint=_HINT,
        )
    return Vocabulary(tuple(pieces), lower)


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
