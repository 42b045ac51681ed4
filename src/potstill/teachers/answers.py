"""The one place where a teacher's answers are checked before anybody learns from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from potstill.errors import PotstillError, UserError
from potstill.teachers.classes import match
from potstill.types import Bools, Doubles, Floats, Task

TOLERANCE = 1e-3
"""How far a probability may leave [0, 1], and a row's sum 1, and still be taken for rounding."""


def checked(
    values: object,
    *,
    task: Task,
    n_rows: int,
    teacher: str,
    labels: Sequence[Any] | None = None,
    allow_missing: bool = False,
) -> Floats:
    """The answers of a teacher as ``(n, K)`` float32 in the order of ``task.classes``.

    Small drift is repaired (clipped to [0, 1], rows divided by their sum); anything more is an error.

    Parameters
    ----------
    values
        Probabilities ``(n, len(labels))``. For two classes ``(n,)`` or ``(n, 1)`` too: the probability of the
        second. Regression: values ``(n,)`` or ``(n, 1)``.
    task
        What is predicted.
    n_rows
        Number of rows that were asked about.
    teacher
        The teacher's name, for messages.
    labels
        What the columns of ``values`` stand for, in the teacher's own words; None: ``task.classes`` in order.
        Classes of the task that are not among them get probability 0.
    allow_missing
        Rows that are NaN throughout are kept: the teacher has no answer there.

    Raises
    ------
    UserError
        If the shape is not that, a value is not finite or no probability, or a row does not sum to 1.
    """
    array = _as_array(values, teacher)
    if not task.is_classification:
        column = _shaped(array, n_rows, 1, task, teacher)
        _check_finite(column, teacher, allow_missing=allow_missing)
        return column.astype(np.float32)
    own_labels = task.classes if labels is None else tuple(labels)
    probs = _shaped(_both_classes(array, len(own_labels)), n_rows, len(own_labels), task, teacher)
    _check_finite(probs, teacher, allow_missing=allow_missing)
    _check_probabilities(probs, teacher)
    probs = np.clip(probs, 0.0, 1.0)
    probs /= probs.sum(axis=1, keepdims=True)
    if labels is None:
        return probs.astype(np.float32)
    aligned = np.zeros((n_rows, task.n_outputs), dtype=np.float32)
    aligned[:, match(own_labels, task, teacher)] = probs
    aligned[np.isnan(probs).any(axis=1)] = np.nan
    return aligned


SUM_TOLERANCE = 1e-4
"""How far a row of what a network puts out may sum from 1 and still be no logits."""


@contextmanager
def speaking_for(teacher: str, doing: str, *, hint: str = "") -> Iterator[None]:
    """Turn whatever a foreign library raises inside into a UserError that names the teacher.

    Parameters
    ----------
    teacher
        The teacher's name.
    doing
        What it was asked to do, completing "... could not": ``answer the rows``, ``be fitted``.
    hint
        The next step; empty for none.
    """
    try:
        yield
    except PotstillError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"Teacher {teacher!r} could not {doing}: {type(error).__name__}: {text}", hint=hint
        ) from error


def are_probabilities(values: Doubles) -> bool:
    """Whether all of ``(n, K)`` values lie within [0, 1] and every row sums to 1."""
    within = ((values >= 0.0) & (values <= 1.0)).all()
    return bool(within and (np.abs(values.sum(axis=1) - 1.0) <= SUM_TOLERANCE).all())


def sigmoid(logits: Doubles) -> Doubles:
    """Logistic function, ``(n,)`` to ``(n,)``; no overflow for any finite logit."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float64)


def softmax(logits: Doubles) -> Doubles:
    """Softmax over the last axis, ``(n, K)`` to ``(n, K)``."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)


def _as_array(values: object, teacher: str) -> Doubles:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"Teacher {teacher!r}: wanted an array of numbers, got {type(values).__name__} ({error}).",
            hint="Return one row of probabilities (or one value) for each row asked about.",
        ) from error


def _both_classes(array: Doubles, n_labels: int) -> Doubles:
    if n_labels != 2:
        return array
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    return np.column_stack([1.0 - array, array]) if array.ndim == 1 else array


def _shaped(array: Doubles, n_rows: int, n_columns: int, task: Task, teacher: str) -> Doubles:
    if array.ndim == 1 and n_columns == 1:
        array = array[:, None]
    if array.shape == (n_rows, n_columns):
        return array
    if not task.is_classification:
        wanted = f"one value for each of {n_rows} rows"
    else:
        wanted = f"probabilities of shape ({n_rows}, {n_columns}): a row each and a column for each class"
    raise UserError(
        f"Teacher {teacher!r}: wanted {wanted}, got an array of shape {array.shape}.",
        hint=f"The task is {task.kind} for {task.target!r}; a teacher answers every row, in the order asked.",
    )


def _check_finite(array: Doubles, teacher: str, *, allow_missing: bool) -> None:
    with np.errstate(over="ignore"):
        bad: Bools = np.asarray(~np.isfinite(array.astype(np.float32)).all(axis=1))
    if allow_missing:
        bad = bad & ~np.isnan(array).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise UserError(
            f"Teacher {teacher!r}: wanted finite answers, got {array[row].tolist()} in row {row} "
            f"({int(bad.sum())} of {len(array)} rows are like that).",
            hint="Every row needs an answer in full: look at that row, and at what the teacher makes of it.",
        )


def _check_probabilities(probs: Doubles, teacher: str) -> None:
    outside = ((probs < -TOLERANCE) | (probs > 1.0 + TOLERANCE)).any(axis=1)
    if outside.any():
        row = int(outside.argmax())
        raise UserError(
            f"Teacher {teacher!r}: wanted probabilities between 0 and 1, got {probs[row].tolist()} "
            f"in row {row} "
            f"({int(outside.sum())} of {len(probs)} rows are like that).",
            hint="If these are logits or margins, turn them into probabilities first.",
        )
    sums = probs.sum(axis=1)
    drifted = np.abs(sums - 1.0) > TOLERANCE
    if drifted.any():
        row = int(drifted.argmax())
        raise UserError(
            f"Teacher {teacher!r}: wanted probabilities that sum to 1 in every row, got the sum "
            f"{sums[row]:.6g} "
            f"in row {row} ({int(drifted.sum())} of {len(probs)} rows are like that).",
            hint="Is a class left out? Divide each row by its sum only if you know that none is.",
        )
