"""The old ensemble sees a sampled copy of the traffic, off the request path; how often they agree is told."""

from __future__ import annotations

import queue
import random
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, final

import msgspec
import numpy as np

from potstill.artifact import Model
from potstill.artifact.columns import Feeds, rows_of, slice_feeds
from potstill.errors import UserError
from potstill.monitoring.ensemble import Ask, Row, checked_answers, told_rows
from potstill.types import Floats

_STOP = None


class Disagreement(msgspec.Struct, frozen=True):
    """A row where both chose another class, or whose values lie far apart."""

    row: dict[str, Any]
    student: tuple[float, ...]
    ensemble: tuple[float, ...]


class ShadowReport(msgspec.Struct, frozen=True):
    """What the shadow has seen.

    Parameters
    ----------
    asked, dropped, failed
        Rows the ensemble answered; sampled rows that found the queue full; rows it did not answer.
    waiting
        Requests in the queue.
    agreement
        Share of the answered rows with the same class; None before there are any, and for regression.
    distance
        Mean total variation of the probabilities, or mean absolute difference of the values.
    disagreements
        The last few, newest last.
    trouble
        The last failure in words; empty when there was none.
    """

    asked: int
    dropped: int
    failed: int
    waiting: int
    agreement: float | None
    distance: float | None
    disagreements: tuple[Disagreement, ...]
    trouble: str


def merged_shadows(reports: Sequence[ShadowReport]) -> ShadowReport:
    """What the shadows of several processes have seen together; at least one."""
    asked = sum(each.asked for each in reports)

    def mean(values: Sequence[float | None]) -> float | None:
        weighed = [
            each.asked * value for each, value in zip(reports, values, strict=True) if value is not None
        ]
        return sum(weighed) / asked if weighed else None

    return ShadowReport(
        asked=asked,
        dropped=sum(each.dropped for each in reports),
        failed=sum(each.failed for each in reports),
        waiting=sum(each.waiting for each in reports),
        agreement=mean([each.agreement for each in reports]),
        distance=mean([each.distance for each in reports]),
        disagreements=tuple(kept for each in reports for kept in each.disagreements),
        trouble=next((each.trouble for each in reports if each.trouble), ""),
    )


@final
class Shadow:
    """Asks the ensemble about some of the traffic, in a thread of its own.

    A request is never kept waiting: what the queue has no room for is dropped and counted.

    Parameters
    ----------
    model
        The student whose answers are compared.
    ask
        The ensemble.
    share
        Of the requests that are copied, in (0, 1].
    queue_requests
        Most requests that wait.
    request_rows
        Most rows of one request that are copied.
    keep
        Disagreements kept. They hold rows as they came: who reads the report reads them.
    far
        Regression: from which absolute difference on a row is kept.
    seed
        Of the sampling; None differs from run to run.

    Raises
    ------
    UserError
        ``share`` is none, or a bound is below 1.
    """

    def __init__(
        self,
        model: Model,
        ask: Ask,
        *,
        share: float = 0.1,
        queue_requests: int = 1_000,
        request_rows: int = 256,
        keep: int = 100,
        far: float = float("inf"),
        seed: int | None = None,
    ) -> None:
        if not 0.0 < share <= 1.0 or min(queue_requests, request_rows, keep) < 1:
            raise UserError(
                f"Wanted a share of the traffic above 0 and up to 1, and bounds from 1 on; got {share:g}, "
                f"{queue_requests} requests, {request_rows} rows and {keep} kept."
            )
        self._model = model
        self._ask = ask
        self._share, self._request_rows, self._far = share, request_rows, far
        self._random = random.Random(seed)
        self._queue: queue.Queue[tuple[Any, Floats] | None] = queue.Queue(queue_requests)
        self._lock = threading.Lock()
        self._asked = self._dropped = self._failed = self._agreed = 0
        self._distance = 0.0
        self._kept: deque[Disagreement] = deque(maxlen=keep)
        self._trouble = ""
        self._worker: threading.Thread | None = None
        self._closed = False

    def observe(self, inputs: Feeds, outputs: Floats, rows: Sequence[Row] | None = None) -> None:
        """Maybe copy a request; never waits.

        Parameters
        ----------
        inputs, outputs
            As `Watch.observe` takes them.
        rows
            The rows as they came, where the ensemble sees columns that the student does not; else they are
            told from ``inputs``.
        """
        if self._closed or self._random.random() >= self._share:
            return
        n_rows = min(rows_of(inputs), self._request_rows)
        copied = list(rows[:n_rows]) if rows is not None else slice_feeds(inputs, 0, n_rows)
        try:
            self._queue.put_nowait((copied, outputs[:n_rows]))
        except queue.Full:
            with self._lock:
                self._dropped += n_rows
            return
        if self._worker is None:
            self._start()

    def report(self) -> ShadowReport:
        """What was seen so far."""
        with self._lock:
            some = self._asked > 0
            classes = self._model.task.is_classification
            return ShadowReport(
                asked=self._asked,
                dropped=self._dropped,
                failed=self._failed,
                waiting=self._queue.qsize(),
                agreement=self._agreed / self._asked if some and classes else None,
                distance=self._distance / self._asked if some else None,
                disagreements=tuple(self._kept),
                trouble=self._trouble,
            )

    def drain(self) -> None:
        """Wait until all that was copied has been asked."""
        self._queue.join()

    def close(self, timeout_s: float = 5.0) -> None:
        """Take no more, and wait at most this long for what is at work; what still waits is not asked."""
        self._closed = True
        worker = self._worker
        if worker is None:
            return
        while True:
            try:
                self._queue.get_nowait()
                self._queue.task_done()
            except queue.Empty:
                break
        self._queue.put(_STOP)
        worker.join(timeout_s)

    def _start(self) -> None:
        with self._lock:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, name="potstill-shadow", daemon=True)
                self._worker.start()

    def _work(self) -> None:
        while (copied := self._queue.get()) is not _STOP:
            try:
                self._compare(*copied)
            except Exception as error:  # an ensemble's failure is told, and must not end the thread
                with self._lock:
                    self._failed += len(copied[1])
                    self._trouble = f"{type(error).__name__}: {error}"[:300]
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _compare(self, copied: Any, student: Floats) -> None:
        rows = copied if isinstance(copied, list) else told_rows(copied, self._model)
        said = checked_answers(self._ask(rows), len(rows), self._model.task)
        if self._model.task.is_classification:
            apart = np.abs(said - student).sum(axis=1) / 2
            differs = said.argmax(axis=1) != student.argmax(axis=1)
        else:
            apart = np.abs(said - student)[:, 0]
            differs = apart >= self._far
        with self._lock:
            self._asked += len(rows)
            self._agreed += int((~differs).sum())
            self._distance += float(apart.sum())
            for row in np.flatnonzero(differs):
                self._kept.append(
                    Disagreement(dict(rows[row]), tuple(student[row].tolist()), tuple(said[row].tolist()))
                )
