"""How large a family may be: from what a few sizes cost to the size that keeps the budget."""

from __future__ import annotations

import math
from typing import final

from potstill.training.candidates import Assessment, costs
from potstill.types import Budget, Student

SMALLEST_SIZE = 1 / 256
"""Below this size a family that still breaks the budget is given up."""

SNUG, SHRINK = 0.93, 0.85
"""Part of the budget that a resized student aims at, and the most that is left of one that breaks it."""

BOLDEST = 1 / 8
"""The least that is left at the first step, when nothing is known of what a size cannot change."""

APART = 0.3
"""Sizes whose logarithms differ by less say nothing of the fixed part."""

IDLE = 1.15
"""A family whose cost no size brings below the budget is left this near to the least it can cost."""


@final
class Sizing:
    """What each family was seen to cost at which size.

    Every cost is taken for a fixed part, which no size changes (a row of many columns has to be read, a table
    of categories has to be kept), and a part in proportion to the size. Two sizes tell them apart.

    Parameters
    ----------
    budget
        What is allowed.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._seen: dict[str, list[tuple[float, Assessment]]] = {}

    def note(self, part: Student, assessment: Assessment) -> None:
        """Remember what ``part`` measured."""
        self._seen.setdefault(part.name, []).append((part.size, assessment))

    def smaller(self, part: Student, assessment: Assessment) -> Student | None:
        """``part``, which breaks the budget, at a size that should keep it; None where no size would help."""
        fixed = self._fixed(part, assessment)
        limits = costs(self._budget, assessment)
        over = {name: limit for name, limit in limits.items() if limit[0] > limit[1]}
        change = min((_change(*limit, fixed.get(name)) for name, limit in over.items()), default=1.0)
        size = part.size * min(SHRINK, change)
        return part.resized(size) if change < 1.0 and size >= SMALLEST_SIZE else None

    def room(self, part: Student, assessment: Assessment) -> float:
        """How many times larger than it is ``part`` may become by what is known; infinite without limits.

        What latency does with the size is unknown before two sizes are; then bytes alone bound the growth.
        """
        fixed = self._fixed(part, assessment) or {"size": 0.0}
        changes = [
            (SNUG * allowed - fixed[name]) / (cost - fixed[name])
            for name, (cost, allowed) in costs(self._budget, assessment).items()
            if name in fixed and cost > fixed[name]
        ]
        return max(0.0, min(changes, default=math.inf))

    def _fixed(self, part: Student, assessment: Assessment) -> dict[str, float]:
        """The fixed part of each cost, by this size and the one seen that is farthest; empty before that."""
        sizes = [one for one in self._seen.get(part.name, []) if abs(math.log(one[0] / part.size)) > APART]
        if not sizes:
            return {}
        size, seen = max(sizes, key=lambda one: abs(math.log(one[0] / part.size)))
        here, there = costs(self._budget, assessment), costs(self._budget, seen)
        slopes = {name: (here[name][0] - there[name][0]) / (part.size - size) for name in here}
        return {name: max(here[name][0] - max(slopes[name], 0.0) * part.size, 0.0) for name in here}


def _change(cost: float, allowed: float, fixed: float | None) -> float:
    """The factor of size that brings ``cost`` to the allowance, or near to ``fixed``; 1 where none does."""
    if fixed is None:
        return max(BOLDEST, SNUG * allowed / cost)
    if SNUG * allowed > fixed:
        return (SNUG * allowed - fixed) / (cost - fixed)
    if cost <= IDLE * fixed:
        return 1.0
    return (math.sqrt(IDLE) - 1) * fixed / (cost - fixed)
