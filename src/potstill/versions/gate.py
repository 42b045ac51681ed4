"""Conditions under which an artifact may ship, on the figures its Card carries: ``recovery>=0.5``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable

import msgspec

from potstill.artifact import Card
from potstill.errors import GateFailed, UserError

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*([A-Za-z0-9_.]+)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_LOSSES = ("log_loss", "rmse")


class Condition(msgspec.Struct, frozen=True):
    """One condition: a figure of the Card (see `figures`), ``>=``, ``<=``, ``>`` or ``<``, and a bound."""

    figure: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """A condition out of a text such as ``log_loss<=0.3``.

        Raises
        ------
        UserError
            When it is none.
        """
        if match := _FORM.fullmatch(text):
            figure, comparison, bound = match.groups()
            try:
                return cls(figure, comparison, float(bound))
            except ValueError:
                pass  # such as 1.2.3
        raise UserError(
            f"{text!r} is no condition; wanted a figure, one of {', '.join(_COMPARISONS)}, and a number.",
            hint="For instance recovery>=0.5, log_loss<=0.3 or latency_p99_us<=100.",
        )

    def __str__(self) -> str:
        return f"{self.figure}{self.comparison}{self.bound:g}"

    def holds(self, value: float) -> bool:
        return _COMPARISONS[self.comparison](value, self.bound)


def figures(card: Card) -> dict[str, float | None]:
    """What a gate may ask about: figure to value, None where it was measured but is undefined.

    The metrics of the shipped model on the test rows by their names (``accuracy``, ``log_loss``, ``ece``, …);
    ``recovery`` (of log-loss, or RMSE) and ``recovery_low``, the lower end of its 95 % interval, and both for
    each metric (``recovery.accuracy``); ``latency_p50_us`` and ``latency_p99_us``; ``size_kb`` in units of
    1,000 bytes.
    """
    measured, volatile = card.measured, card.volatile
    # of a twin that shipped, the scores are kept under the student's name, as the model in the file
    named = measured.metrics.get("student") or measured.metrics.get(card.shipped, {})
    found: dict[str, float | None] = dict(named)
    for metric, gap in measured.gap_recovered.items():
        found[f"recovery.{metric}"] = gap.value
        found[f"recovery_low.{metric}"] = gap.low
        if metric in _LOSSES:
            found["recovery"], found["recovery_low"] = gap.value, gap.low
    if latency := volatile.latency_us.get("student") or volatile.latency_us.get(card.shipped):
        found["latency_p50_us"], found["latency_p99_us"] = latency.p50, latency.p99
    if size := volatile.size_bytes.get(card.shipped):
        found["size_kb"] = size / 1000
    return found


def check_gate(card: Card, conditions: Iterable[Condition], *, source: str) -> None:
    """Hold the Card against every condition.

    Raises
    ------
    UserError
        When a condition asks about something the Card does not know.
    GateFailed
        When one does not hold, or its figure is undefined; all that fail are named.
    """
    known = figures(card)
    failures: list[str] = []
    for condition in conditions:
        if condition.figure not in known:
            raise UserError(
                f"The card of {source} has no figure {condition.figure!r}, which the gate asks about.",
                hint=f"It has: {', '.join(known)}."
                if known
                else "It has none: distil with test rows, which measure it.",
            )
        value = known[condition.figure]
        if value is None:
            failures.append(f"{condition} (undefined)")
        elif not condition.holds(value):
            failures.append(f"{condition} (it is {value:.4g})")
    if failures:
        raise GateFailed(
            f"{source} does not pass the gate: {'; '.join(failures)}.",
            hint="It was not pushed. See its figures with potstill inspect.",
        )
