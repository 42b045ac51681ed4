"""Asking a teacher: in chunks, with its answers checked, and timed on single rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from potstill.errors import UserError
from potstill.types import Dataset, Floats, Latency, Task, Teacher

_LATENCY_CALLS = 30
_LEAST_CALLS = 3
_SUM_TOLERANCE = 1e-2


def ask(teacher: Teacher, dataset: Dataset, *, chunk_rows: int) -> Iterator[Floats]:
    """The teacher's answers to all rows, ``(<= chunk_rows, K)`` float32 at a time.

    Raises
    ------
    UserError
        An answer has another shape, is not finite, or is no probability.
    """
    return _in_chunks(teacher.predict, teacher.name, dataset, chunk_rows, may_decline=False)


def ask_out_of_fold(
    predict: Callable[[Dataset], Floats], name: str, dataset: Dataset, *, chunk_rows: int
) -> Iterator[Floats]:
    """Like `ask`, of a teacher's own out-of-fold answers; a row it cannot answer is NaN throughout."""
    return _in_chunks(predict, name, dataset, chunk_rows, may_decline=True)


def _in_chunks(
    predict: Callable[[Dataset], Floats], name: str, dataset: Dataset, chunk_rows: int, *, may_decline: bool
) -> Iterator[Floats]:
    n = len(dataset)
    for start in range(0, n, chunk_rows):
        whole = start == 0 and n <= chunk_rows
        chunk = dataset if whole else dataset.take(np.arange(start, min(start + chunk_rows, n)))
        answers = np.asarray(predict(chunk), dtype=np.float32)
        check_answers(answers, name, len(chunk), dataset.task, first_row=start, may_decline=may_decline)
        yield answers


def check_answers(
    answers: Floats, name: str, n_rows: int, task: Task, *, first_row: int = 0, may_decline: bool = False
) -> None:
    """Check what a teacher answered.

    Parameters
    ----------
    answers
        ``(n_rows, K)`` float32.
    name
        The teacher's, for the message.
    first_row
        Position of the first of these rows, for the message.
    may_decline
        Rows that are NaN throughout are no answer and no error.

    Raises
    ------
    UserError
        The shape is another, a value is not finite, or a row's probabilities are negative or do not sum to 1.
    """
    wanted = (n_rows, task.n_outputs)
    if answers.shape != wanted:
        raise UserError(
            f"Wanted answers of shape {wanted} from the teacher {name!r}, got {answers.shape}.",
            hint="One row for each row asked, one column for each class in the order of the task's classes.",
        )
    declined = np.isnan(answers).all(axis=1) if may_decline else np.zeros(n_rows, dtype=bool)
    bad = ~np.isfinite(answers).all(axis=1) & ~declined
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(
            f"Wanted finite answers from the teacher {name!r}, got {answers[row].tolist()} "
            f"in row {first_row + row}.",
            hint="Look at what the teacher does with missing or extreme values in that row.",
        )
    if not task.is_classification:
        return
    with np.errstate(invalid="ignore"):
        bad = (answers.min(axis=1) < -_SUM_TOLERANCE) | (np.abs(answers.sum(axis=1) - 1) > _SUM_TOLERANCE)
    bad &= ~declined
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise UserError(
            f"Wanted probabilities that sum to 1 from the teacher {name!r}, got {answers[row].tolist()} "
            f"in row {first_row + row}.",
            hint="Have the teacher answer probabilities, not logits or scores.",
        )


def measure_latency(teacher: Teacher, dataset: Dataset, *, seconds: float) -> Latency:
    """Time the teacher on single rows: after a warm-up, about 30 calls, fewer if ``seconds`` run out.

    With so few calls the p99 is close to the slowest.
    """
    index = np.linspace(0, len(dataset) - 1, _LATENCY_CALLS).astype(np.int64)
    rows = [dataset.take(index[i : i + 1]) for i in range(_LATENCY_CALLS)]
    teacher.predict(rows[-1])
    taken: list[float] = []
    end = time.perf_counter() + seconds
    for row in rows:
        begin = time.perf_counter()
        teacher.predict(row)
        now = time.perf_counter()
        taken.append((now - begin) * 1e6)
        if now > end and len(taken) >= _LEAST_CALLS:
            break
    p50, p99 = np.percentile(taken, [50, 99])
    return Latency(p50=float(p50), p99=float(p99))
