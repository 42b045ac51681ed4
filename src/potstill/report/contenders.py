"""The models that are compared: what each is called, how it is drawn, and where it is shown.

One row of `CONTENDERS` a model. The page, the tables and the JSON follow it; a model measured under a name
that is not here still has its line, called by its own name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Contender(NamedTuple):
    """How a model is called and drawn.

    Parameters
    ----------
    said
        Its name on the page.
    marker
        matplotlib's sign for it.
    pictured
        It has a bubble in the first picture.
    by_part
        It is among the dots by class and by slice, where more than a few would hide each other.
    """

    said: str
    marker: str
    pictured: bool = True
    by_part: bool = False


CONTENDERS = {
    "teacher": Contender("Teacher", "o", by_part=True),
    "best_member": Contender("Best member", "s"),
    # Its classes and its cost are those of the calibrated twin: a second bubble would cover the first.
    "twin_raw": Contender("Twin, uncalibrated", "v", pictured=False),
    "twin_smoothed": Contender("Twin, smoothed labels", "P"),
    "twin": Contender("Hard-label twin", "^", by_part=True),
    "student": Contender("Student", "D", by_part=True),
}
"""In the order of the page."""

OTHER = "other"
"""Colour and sign of a model that is not listed."""


def contender(name: str) -> Contender:
    """The row of a model; one made of its name where it has none."""
    return CONTENDERS.get(name) or Contender(name.replace("_", " ").capitalize(), "X")


def name_of(name: str) -> str:
    """What a model is called: ``Hard-label twin``."""
    return contender(name).said


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Models in the order of the page, those that are not listed before the student."""
    listed = list(CONTENDERS)
    last = len(listed)
    rank = {name: place for place, name in enumerate(listed)} | {"student": last + 1}
    return tuple(sorted(dict.fromkeys(names), key=lambda name: rank.get(name, last)))
