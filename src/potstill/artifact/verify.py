"""Is a file what it says it is? What the commands ``verify`` and ``inspect`` show."""

from __future__ import annotations

import hashlib
from os import PathLike
from typing import Any

import msgspec

from potstill.artifact.card import decode_card
from potstill.artifact.envelope import CARD_KEY, open_envelope, read_file
from potstill.artifact.model import Verification, load


def verify_file(path: str | PathLike[str]) -> Verification:
    """Check a file's hash, open it and replay its probe rows.

    Raises
    ------
    UserError
        When there is no such file.
    ArtifactError
        When it is no artifact, was changed, or answers otherwise than when it was written.
    """
    return load(path).verify()


def inspect(path: str | PathLike[str]) -> dict[str, Any]:
    """What a file says of itself, as JSON values; its hash is checked, its graph is not run.

    Returns
    -------
    dict
        ``file`` (path, size_bytes, sha256, content_hash) and ``card``.

    Raises
    ------
    UserError
        When there is no such file.
    ArtifactError
        When it is no artifact or was changed.
    """
    source, data = read_file(path)
    envelope = open_envelope(data, source=source)
    card = decode_card(envelope.metadata[CARD_KEY], source=source)
    described: dict[str, Any] = {
        "file": {
            "path": source,
            "size_bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "content_hash": card.content_hash,
        },
        "card": msgspec.to_builtins(card),
    }
    return described
