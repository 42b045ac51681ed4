"""Everything potstill raises on purpose.

PotstillError
├── UserError          the input is wrong: exit code 2, HTTP 400
│   ├── ArtifactError  the file is no artifact, or was changed since it was written
│   └── StoreError     a file cannot be written: the disk is full, say; HTTP 507
├── ParityFailed       the exported graph answers otherwise than the trained student: exit code 1
└── GateFailed         the artifact may not ship: exit code 1

The text of an error says what was wanted, what was got and where. `hint` is the next step.
"""

from __future__ import annotations


class PotstillError(Exception):
    """The root of potstill's own errors.

    Parameters
    ----------
    message
        A full sentence: what was wanted, what was got, where (file, column, row).
    hint
        The next step to take; empty when there is none to give.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n\nhint: {self.hint}" if self.hint else self.message


class UserError(PotstillError, ValueError):
    """The caller's input is wrong; nothing was written."""

    exit_code = 2


class ArtifactError(UserError):
    """The file is not a potstill artifact, or its bytes are not those that were written."""


class StoreError(UserError):
    """A file cannot be written: the disk is full, say, or it may not be. What was there before still is."""


class ParityFailed(PotstillError):
    """The exported graph answers otherwise than the trained student; nothing was written."""


class GateFailed(PotstillError):
    """A condition under which an artifact may ship does not hold; nothing was written."""

    exit_code = 1
