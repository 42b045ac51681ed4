"""How durations and long messages are said on stderr."""

from __future__ import annotations

_LONGEST_NOTE = 40
"""Lines of a note; a table of hundreds of columns is cut in the middle."""


def spoken(seconds: float) -> str:
    """A duration as a person says it: ``8 s``, ``2 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def shortened(message: str) -> str:
    """``message`` with the middle of its lines left out where there are very many."""
    lines = message.splitlines()
    half = _LONGEST_NOTE // 2
    if len(lines) <= _LONGEST_NOTE:
        return message
    return "\n".join([*lines[:half], f"  … {len(lines) - 2 * half:,} more lines …", *lines[-half:]])
