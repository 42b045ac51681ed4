"""Progress on stderr: bars with the time left in a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from potstill.types import Progress

_SECONDS_BETWEEN_LINES = 10.0
_LONGEST_NOTE = 40
"""Lines of a note; a table of hundreds of columns is cut in the middle."""


@contextmanager
def shown_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Progress]:
    """The `Progress` that fits stderr, drawn until the block ends."""
    stream = stream or sys.stderr
    if quiet:
        from potstill.types import Silent

        yield Silent()
    elif stream.isatty():
        with _bars() as bars:
            drawn = Bars(bars)
            yield drawn
            drawn.finish()
    else:
        lines = Lines(stream)
        yield lines
        lines.finish()


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


class Lines:
    """Plain lines: one when a stage starts, one when it ends, one now and then in between."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
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

    def finish(self) -> None:
        """Say how long the current stage took."""
        if self._stage:
            self._print(f"{self._stage}: done in {spoken(self._clock() - self._started)}")
            self._stage = ""

    def _print(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class Bars:
    """Rich bars: the current stage with the time left, finished stages as lines above it."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
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

    def finish(self) -> None:
        """Turn the current stage's bar into a line that stays."""
        if self._task is None:
            return
        from rich.progress import TaskID

        self._bars.remove_task(TaskID(self._task))
        self._task = None
        took = spoken(time.monotonic() - self._started)
        self._bars.console.print(f"✓ {self._stage}, {took}", style="green", markup=False, highlight=False)


def _bars() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    return RichProgress(
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
