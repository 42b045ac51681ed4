"""Progress on stderr: bars with the time left in a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from potstill.cli.search_view import SearchView, line
from potstill.cli.words import shortened, spoken

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from potstill.types import Progress, Tried

_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def shown_progress(
    *,
    quiet: bool = False,
    verbose: bool = False,
    time_limit_s: float | None = None,
    stream: TextIO | None = None,
) -> Iterator[Progress]:
    """The `Progress` that fits stderr, drawn until the block ends.

    Parameters
    ----------
    quiet, verbose
        Say nothing; say a line for each candidate of the search.
    time_limit_s
        Of the whole run, shown beside the time used.
    """
    stream = stream or sys.stderr
    if quiet:
        from potstill.types import Silent

        yield Silent()
    elif stream.isatty():
        view = SearchView(time_limit_s)
        with _bars(view) as bars:
            drawn = Bars(bars, view, verbose=verbose)
            yield drawn
            drawn.finish()
    else:
        lines = Lines(stream, verbose=verbose)
        yield lines
        lines.finish()


class Lines:
    """Plain lines: one when a stage starts, one when it ends, one now and then in between."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], float] = time.monotonic, *, verbose: bool = False
    ) -> None:
        self._stream = stream
        self._verbose = verbose
        self._clock = clock
        self._stage = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._last = clock()

    def start(self, stage: str, total: int | None = None) -> None:
        self.finish()
        self._stage, self._total, self._done = stage, total, 0
        self._started = self._last = self._clock()
        self._print(f"{stage} …")

    def advance(self, amount: int = 1, note: str = "") -> None:
        self._done += amount
        now = self._clock()
        if not self._total or now - self._last < _SECONDS_BETWEEN_LINES or self._done >= self._total:
            return
        self._last = now
        left = (now - self._started) / max(self._done, 1) * (self._total - self._done)
        detail = f" ({note})" if note else ""
        self._print(f"{self._stage}: {self._done} of {self._total}{detail}, about {spoken(left)} left")

    def note(self, message: str) -> None:
        self._print(f"note: {shortened(message)}")

    def candidate(self, tried: Tried) -> None:
        if self._verbose:
            self._print(f"tried {line(tried)}")

    def finish(self) -> None:
        """Say how long the current stage took."""
        if self._stage:
            self._print(f"{self._stage}: done in {spoken(self._clock() - self._started)}")
            self._stage = ""

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Bars:
    """Rich bars: the current stage with the time left, finished stages as lines above it.

    While the search goes on, its leaders are a table below the bar, redrawn in place.
    """

    def __init__(self, bars: RichProgress, view: SearchView | None = None, *, verbose: bool = False) -> None:
        self._bars = bars
        self._view = view or SearchView()
        self._verbose = verbose
        self._task: int | None = None
        self._stage = ""
        self._started = time.monotonic()

    def start(self, stage: str, total: int | None = None) -> None:
        self.finish()
        self._stage, self._started = stage, time.monotonic()
        self._task = self._bars.add_task(stage, total=total, note="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self._task is None:
            return
        from rich.progress import TaskID

        self._bars.update(TaskID(self._task), advance=amount)
        if note:
            self._bars.update(TaskID(self._task), note=note)

    def note(self, message: str) -> None:
        self._bars.console.print(f"  {shortened(message)}", style="yellow", markup=False, highlight=False)

    def candidate(self, tried: Tried) -> None:
        self._view.add(tried)
        if self._verbose:
            self._bars.console.print(f"  {line(tried)}", style="dim", markup=False, highlight=False)

    def finish(self) -> None:
        """Turn the current stage's bar into a line that stays, with the best of what it tried."""
        if self._task is None:
            return
        from rich.progress import TaskID

        self._bars.remove_task(TaskID(self._task))
        self._task = None
        said = f"✓ {self._stage}, {spoken(time.monotonic() - self._started)}"
        if self._view.best is not None:
            said += f": {self._view.n_tried} tried, best {line(self._view.best)}"
            self._view.clear()
        self._bars.console.print(said, style="green", markup=False, highlight=False)


def _bars(view: SearchView) -> RichProgress:
    from rich.console import Console, RenderableType
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    class BarsAndLeaders(RichProgress):
        """The bars, and below them the leaders of the search."""

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from super().get_renderables()
            if (drawn := view.drawn()) is not None:
                yield drawn

    return BarsAndLeaders(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=Console(stderr=True),
        transient=True,
    )
