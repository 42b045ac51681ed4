"""`Watch`: takes note of live traffic and holds it against the artifact's reference."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, final

import msgspec
import numpy as np

from potstill.artifact import Model
from potstill.artifact.columns import Feeds, concat_feeds, lone_picture_column, rows_of, slice_feeds
from potstill.artifact.one_row import Noted
from potstill.artifact.reference import Reference
from potstill.errors import UserError
from potstill.monitoring.counting import Counter, Tally
from potstill.monitoring.ensemble import Row
from potstill.monitoring.shadow import Shadow, ShadowReport, merged_shadows
from potstill.monitoring.window import Thresholds, Window, compare_window
from potstill.types import Floats

FOLD_ROWS = 256
"""Rows that are noted before they are counted; to count them takes about a millisecond."""

MOST_NOTED_ROWS = 64 * FOLD_ROWS
"""Rows that are noted at most while a report is made; then a request has to wait for it."""

FOLD_PICTURES, MOST_NOTED_PICTURES = 1, 16
"""The same for pictures, which are noted as they were decoded and may take a hundred megabytes each."""


class Past(msgspec.Struct, frozen=True):
    """A closed window in short; `Window` says what the fields mean.

    Parameters
    ----------
    psi
        Column, or ``answer:`` and the kind of answer, to PSI.
    accuracy
        Estimated, None where it cannot be.
    """

    started: float
    seconds: float
    n_rows: int
    psi: dict[str, float | None]
    accuracy: float | None
    alarms: tuple[str, ...]


class WatchReport(msgspec.Struct, frozen=True):
    """What a `Watch` has seen.

    Parameters
    ----------
    model, content_hash
        Name and hash of what is watched.
    n_rows
        Rows noted since it began.
    has_reference
        Whether the artifact says what its training rows looked like; without, nothing can drift.
    current
        The window that is still open; None before its first row.
    last
        The last closed one; None before there is one.
    history
        Closed windows, oldest first.
    shadow
        What the ensemble says of a part of the traffic; None without a shadow.
    """

    model: str
    content_hash: str
    n_rows: int
    has_reference: bool
    thresholds: Thresholds
    current: Window | None
    last: Window | None
    history: tuple[Past, ...]
    shadow: ShadowReport | None = None

    @property
    def window(self) -> Window | None:
        """The window whose figures are told: the last closed one, or the open one before there is any."""
        return self.last or self.current

    @property
    def alarms(self) -> tuple[str, ...]:
        """Of the last closed window and of the open one, each once."""
        windows = (window for window in (self.last, self.current) if window is not None)
        return tuple(dict.fromkeys(alarm for window in windows for alarm in window.alarms))


def merged_reports(reports: Sequence[WatchReport]) -> WatchReport:
    """What several processes that answer with one model side by side have seen.

    Rows and what the shadows were asked are added up. A window is that of one process, for each sees a part
    of the traffic as good as drawn at random: one with alarms if there is one, then the one with most rows.

    Parameters
    ----------
    reports
        At least one; those of another model than the first are left out.
    """
    alike = [each for each in reports if each.content_hash == reports[0].content_hash]
    past = [one for each in alike for one in each.history]
    shadows = [each.shadow for each in alike if each.shadow is not None]
    return msgspec.structs.replace(
        alike[0],
        n_rows=sum(each.n_rows for each in alike),
        current=_telling([each.current for each in alike]),
        last=_telling([each.last for each in alike]),
        history=tuple(sorted(past, key=lambda one: one.started)),
        shadow=merged_shadows(shadows) if shadows else None,
    )


def _telling(windows: Sequence[Window | None]) -> Window | None:
    there = [window for window in windows if window is not None]
    return max(there, key=lambda window: (bool(window.alarms), window.n_rows), default=None)


class _Entry(NamedTuple):
    """What was noted of one request: its inputs, or a row alone."""

    moment: float
    outputs: Floats
    inputs: Feeds | None
    noted: Noted


@final
class Watch:
    """Notes live rows and answers; counts and compares later. Safe between threads.

    Parameters
    ----------
    model
        Whose traffic it is.
    reference
        What to hold it against; None takes the Card's own.
    window_rows, window_s
        A window begins with a row and is closed after so many rows or so many seconds, whichever is first.
    keep
        Closed windows kept in short.
    share
        Of the requests that are noted, in (0, 1]: counting takes a fraction of a microsecond for each value,
        which a table of many hundred columns may want to save.
    ignore
        Columns that may drift, as a date must: they raise no alarm of their distribution.
    thresholds
        When a difference is an alarm.
    shadow
        Is shown the same traffic and takes its part; None for none.
    clock
        Seconds since 1970.

    Raises
    ------
    UserError
        A window would hold no rows, or last no time, the share is none, or a column is not there.

    Examples
    --------
    ::

        watch = Watch(model)
        inputs = feeds(rows, model.schema)
        watch.observe(inputs, model.outputs(inputs))
        watch.report().current.alarms
    """

    def __init__(
        self,
        model: Model,
        *,
        reference: Reference | None = None,
        window_rows: int = 5_000,
        window_s: float = 3_600.0,
        keep: int = 168,
        share: float = 1.0,
        ignore: Collection[str] = (),
        thresholds: Thresholds | None = None,
        shadow: Shadow | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if window_rows < 1 or not window_s > 0 or keep < 1:
            raise UserError(
                f"Wanted windows of at least one row and some time, and one kept; got {window_rows} rows, "
                f"{window_s:g} s and {keep} kept.",
                hint="5000 rows and 3600 s suit most traffic.",
            )
        if not 0.0 < share <= 1.0:
            raise UserError(f"Wanted a share of the requests above 0 and up to 1, got {share:g}.")
        for name in ignore:
            if name not in model.schema.names:
                raise UserError(
                    f"There is no column {name!r} to ignore; there are: {', '.join(model.schema.names[:9])}.",
                    hint="Check the spelling.",
                )
        self._ignore = frozenset(ignore)
        known = model.card.reference if reference is None else reference
        self._reference = known if isinstance(known, Reference) else Reference()
        self._card = model.card
        self._counter = Counter(model.schema, model.task, self._reference)
        self._window_rows, self._window_s = window_rows, window_s
        self._thresholds = thresholds or Thresholds()
        self._share, self._random = share, random.Random()
        self._shadow = shadow
        self._clock = clock
        self._model = model
        self._noted: deque[_Entry] = deque()
        self._n_noted = 0
        pictures = lone_picture_column(model.schema) is not None
        self._fold_rows = FOLD_PICTURES if pictures else FOLD_ROWS
        self._most_noted_rows = MOST_NOTED_PICTURES if pictures else MOST_NOTED_ROWS
        self._noting = threading.Lock()
        self._counting = threading.Lock()
        self._n_rows = 0
        self._tally = Tally()
        self._started = 0.0
        self._last: Window | None = None
        self._history: deque[Past] = deque(maxlen=keep)

    def observe(self, inputs: Feeds, outputs: Floats, rows: Sequence[Row] | None = None) -> None:
        """Note some rows and what was answered to them; neither may be changed afterwards.

        Parameters
        ----------
        inputs
            As `potstill.artifact.feeds` makes them.
        outputs
            ``(n, K)`` probabilities, or ``(n, 1)`` values.
        rows
            The rows as they came, for a shadow that wants to see more than the model does.
        """
        if self._shadow is not None:
            self._shadow.observe(inputs, outputs, rows)
        self._note(outputs, inputs, None)

    def observe_one(self, noted: Noted, outputs: Floats, row: Row) -> None:
        """Note a row as `Model.note_one` gives it; `observe` does the same and takes longer.

        Parameters
        ----------
        noted, outputs
            What that gave.
        row
            The row as it came.
        """
        if self._shadow is not None:
            self._shadow.observe(self._model.noted_feeds([noted]), outputs, [row])
        self._note(outputs, None, noted)

    def _note(self, outputs: Floats, inputs: Feeds | None, noted: Noted) -> None:
        if self._share < 1.0 and self._random.random() >= self._share:
            return
        with self._noting:
            self._noted.append(_Entry(self._clock(), outputs, inputs, noted))
            self._n_noted += len(outputs)
            n_noted = self._n_noted
        if n_noted < self._fold_rows:
            return
        if self._counting.acquire(blocking=n_noted >= self._most_noted_rows):
            try:
                self._count_noted()
            finally:
                self._counting.release()

    def fold(self) -> None:
        """Count what was noted. `observe` and `report` do it themselves; an idle moment is a better time."""
        with self._counting:
            self._count_noted()

    def report(self) -> WatchReport:
        """What was seen so far; JSON by ``msgspec.json.encode``."""
        with self._counting:
            self._count_noted()
            now = self._clock()
            self._close_expired(now)
            current = self._compared(now) if self._tally.n_rows else None
            return WatchReport(
                model=self._card.name,
                content_hash=self._card.content_hash,
                n_rows=self._n_rows,
                has_reference=bool(self._reference.columns or self._reference.answers),
                thresholds=self._thresholds,
                current=current,
                last=self._last,
                history=tuple(self._history),
                shadow=None if self._shadow is None else self._shadow.report(),
            )

    def _count_noted(self) -> None:
        with self._noting:
            noted, self._noted, self._n_noted = self._noted, deque(), 0
        batch: list[_Entry] = []
        for entry in noted:
            if self._expired(entry.moment, batch[0].moment if batch else None):
                self._count(batch)
                batch = []
                self._close_expired(entry.moment)
            batch.append(entry)
        self._count(batch)

    def _expired(self, moment: float, first: float | None) -> bool:
        """Whether a row of this moment is too late for the open window, or the one ``first`` will open."""
        begun = self._started if self._tally.n_rows else first
        return begun is not None and moment - begun >= self._window_s

    def _close_expired(self, moment: float) -> None:
        if self._tally.n_rows and moment - self._started >= self._window_s:
            self._close(self._started + self._window_s)

    def _count(self, batch: list[_Entry]) -> None:
        if not batch:
            return
        inputs = self._inputs_of(batch)
        outputs = np.concatenate([entry.outputs for entry in batch])
        start, n_rows = 0, rows_of(inputs)
        while start < n_rows:
            if not self._tally.n_rows:
                self._started = batch[0].moment
            stop = min(n_rows, start + self._window_rows - self._tally.n_rows)
            self._counter.add(self._tally, slice_feeds(inputs, start, stop), outputs[start:stop])
            self._n_rows += stop - start
            start = stop
            if self._tally.n_rows >= self._window_rows:
                self._close(batch[-1].moment)

    def _inputs_of(self, batch: list[_Entry]) -> Feeds:
        parts: list[Feeds] = []
        for alone, entries in itertools.groupby(batch, lambda entry: entry.inputs is None):
            if alone:
                parts.append(self._model.noted_feeds([entry.noted for entry in entries]))
            else:
                parts += [entry.inputs for entry in entries if entry.inputs is not None]
        return concat_feeds(parts) if len(parts) > 1 else parts[0]

    def _close(self, ended: float) -> None:
        window = self._compared(ended)
        self._last = window
        psi = {name: drift.psi for name, drift in window.columns.items()}
        psi |= {f"answer:{name}": drift.psi for name, drift in window.answers.items()}
        accuracy = window.accuracy.value if window.accuracy else None
        self._history.append(
            Past(window.started, window.seconds, window.n_rows, psi, accuracy, window.alarms)
        )
        self._tally = Tally()

    def _compared(self, ended: float) -> Window:
        return compare_window(
            self._tally,
            self._reference,
            self._thresholds,
            ignore=self._ignore,
            started=self._started,
            seconds=max(ended - self._started, 0.0),
        )
