"""The search while it goes on: how many were tried, the leaders, and the time used."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, final

from potstill.cli.words import spoken

if TYPE_CHECKING:
    from rich.console import Group

    from potstill.types import Tried

LEADERS = 5


@final
class SearchView:
    """Keeps the leading candidates and draws them as a small table.

    Parameters
    ----------
    time_limit_s
        Of the whole run; None where there is none.
    clock
        Seconds that only go up; the run began when this view was made.
    """

    def __init__(
        self, time_limit_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._time_limit_s = time_limit_s
        self._clock = clock
        self._began = clock()
        self._leaders: list[Tried] = []
        self.n_tried = 0
        self.n_over = 0

    @property
    def best(self) -> Tried | None:
        return self._leaders[0] if self._leaders else None

    def add(self, tried: Tried) -> None:
        """Take in one more candidate."""
        self.n_tried += 1
        self.n_over += not tried.fits_budget
        ranked = sorted([*self._leaders, tried], key=lambda one: (not one.fits_budget, one.loss))
        self._leaders = ranked[:LEADERS]

    def clear(self) -> None:
        """Forget the candidates: the search is over."""
        self._leaders, self.n_tried, self.n_over = [], 0, 0

    def headline(self) -> str:
        """``12 tried, 3 over the budget · 41 s of 3 min 00 s``."""
        over = f", {self.n_over} over the budget" if self.n_over else ""
        used = spoken(self._clock() - self._began)
        limit = f" of {spoken(self._time_limit_s)}" if self._time_limit_s is not None else ""
        return f"{self.n_tried} tried{over} · {used}{limit}"

    def drawn(self) -> Group | None:
        """The table under its headline; None before the first candidate."""
        if not self._leaders:
            return None
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), header_style="dim")
        heads = (("", "right"), ("family", "left"), ("size", "right"), ("told", "left"))
        for head, justify in (
            *heads,
            *((each, "right") for each in ("loss", "kB", "µs", "p99")),
            ("fits", "left"),
        ):
            table.add_column(head, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
        for place, one in enumerate(self._leaders, start=1):
            table.add_row(
                *(Text(cell) for cell in (str(place), *cells(one))),
                style="bold" if place == 1 and one.fits_budget else "" if one.fits_budget else "dim",
            )
        return Group(Text(self.headline()), table)


def cells(tried: Tried) -> tuple[str, ...]:
    """A candidate in cells: family, size, what it was told, loss, kB, µs, p99, whether it fits."""
    return (
        tried.family,
        f"×{tried.size:g}",
        tried.told,
        f"{tried.loss:.4g}",
        f"{tried.size_bytes / 1000:.3g}" if tried.size_bytes < 1e6 else f"{tried.size_bytes / 1000:,.0f}",
        f"{tried.latency.p50:.3g}" if tried.latency.p50 < 1000 else f"{tried.latency.p50:,.0f}",
        f"{tried.latency.p99:.3g}" if tried.latency.p99 < 1000 else f"{tried.latency.p99:,.0f}",
        "yes" if tried.fits_budget else "no",
    )


def line(tried: Tried) -> str:
    """A candidate in one line: ``mlp ×2, labels alone: loss 0.2911, 242 kB, 19.9 µs (p99 34.9 µs)``."""
    family, size, told, loss, kb, p50, p99, _ = cells(tried)
    over = "" if tried.fits_budget else ", over the budget"
    return f"{family} {size}, {told}: loss {loss}, {kb} kB, {p50} µs (p99 {p99} µs){over}"
