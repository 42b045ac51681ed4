"""What is let in: the names of models and aliases, and artifacts that may ship."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from os import PathLike

import msgspec

from potstill.artifact import Card, load
from potstill.artifact.envelope import read_file
from potstill.errors import UserError
from potstill.versions.gate import Condition, check_gate

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class Admitted(msgspec.Struct, frozen=True):
    """An artifact that may ship: the bytes are those that were checked.

    Parameters
    ----------
    data
        The file.
    hash
        SHA-256 of it, 64 hex digits.
    card
        Its own account of itself.
    gate
        The conditions it passed.
    """

    data: bytes
    hash: str
    card: Card
    gate: tuple[str, ...]


def admit(path: str | PathLike[str], gate: Iterable[str]) -> Admitted:
    """Read an artifact, if its hash, its probe rows and the gate let it pass.

    Raises
    ------
    UserError
        When there is no such file, or a condition is none.
    ArtifactError
        When the file was changed since it was written, or answers its probe rows otherwise.
    GateFailed
        When a condition does not hold.
    """
    conditions = [Condition.parse(text) for text in gate]
    source, data = read_file(path)
    card = load(data, verify=True).card
    check_gate(card, conditions, source=source)
    return Admitted(data, hashlib.sha256(data).hexdigest(), card, tuple(map(str, conditions)))


def is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """The name, if a model can have it.

    Raises
    ------
    UserError
        When it cannot: it would lead out of a folder, say.
    """
    if not is_name(name):
        raise UserError(
            f"{name!r} cannot be the name of a model; wanted up to 100 letters, digits, '.', '_' and '-'.",
            hint="Give another with --name.",
        )
    return name


def check_alias(alias: str) -> None:
    """Raise a UserError when nothing can be called so."""
    if not _ALIAS.fullmatch(alias):
        raise UserError(
            f"{alias!r} cannot be an alias; wanted up to 32 of a-z, 0-9, '_' and '-', a letter first.",
            hint="The usual ones are champion and challenger.",
        )
