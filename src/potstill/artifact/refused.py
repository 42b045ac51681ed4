"""What a converter raises, and what counts as no value at all."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np


class Refused(ValueError):
    """A value that a column of this kind does not take.

    Parameters
    ----------
    wanted
        What the column takes, in words.
    value
        The value as it came in.
    hint
        The next step.
    row
        Position of the value in its column; None when the value came alone.
    """

    def __init__(self, wanted: str, value: Any, hint: str, row: int | None = None) -> None:
        super().__init__(wanted, value, hint, row)
        self.wanted = wanted
        self.value = value
        self.hint = hint
        self.row = row


def shown(value: Any) -> str:
    """A value as an error shows it: in one short line."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


def is_missing(value: Any) -> bool:
    """Whether the value is ``None``, NaN, NaT or ``pandas.NA``."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating)) and math.isnan(value)
