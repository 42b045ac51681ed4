"""What an objective asks of its own fields."""

from __future__ import annotations

import math

from potstill.errors import UserError


def require_positive(objective: str, field: str, value: float) -> None:
    """Raise `UserError` unless ``value`` is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"The objective {objective!r} wants {field} above 0, got {value}.",
            hint=f"{field}=1 is the usual start.",
        )


def require_weight(objective: str, field: str, value: float) -> None:
    """Raise `UserError` unless ``value`` is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise UserError(
            f"The objective {objective!r} wants {field} of 0 or more, got {value}.",
            hint=f"{field}=0 switches that term off.",
        )
