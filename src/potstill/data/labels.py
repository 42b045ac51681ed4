"""What is to be predicted: the task, inferred or as the caller says, and its labels as numbers."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.data.columns import (
    arrow_values,
    is_number,
    is_text,
    listed,
    missing,
    number_share,
    offenders,
    to_numbers,
)
from potstill.errors import UserError
from potstill.types import Ints, Label, Labels, Task, TaskKind

MAX_CODES = 20
"""Whole numbers with at most so many different values are classes."""

MAX_CONTIGUOUS_CODES = 1_000
"""Whole numbers without a gap, starting at 0 or 1, each in several rows, are classes up to so many."""

_ROWS_PER_CODE = 5


def infer_task(labels: nw.Series[Any], target: str, kind: TaskKind | None = None) -> Task:
    """The task behind a column of labels, none of which is missing.

    Texts and booleans are classes. Numbers with fractions are values. Whole numbers are classes when they are
    few (20 at most) or look like codes (0…K−1 or 1…K with no gap, five rows each on average or more at the
    rarest), else values. ``kind`` overrides all of that.

    Raises
    ------
    UserError
        A single class, a class with one row, labels that cannot be what ``kind`` says, or infinite ones.
    """
    values = arrow_values(labels, target)
    if not (is_text(values.type) or is_number(values.type) or pa.types.is_boolean(values.type)):
        raise UserError(
            f"Wanted texts, numbers or booleans in the target column {target!r}, got {values.type}.",
            hint="name another target, or convert the column.",
        )
    if kind == "regression" or (kind is None and _are_values(values, target)):
        _regression_values(values, target)
        return Task(kind="regression", target=target)
    return _classification(values, target, kind)


def encode_labels(labels: nw.Series[Any], task: Task) -> Labels:
    """``(n,)`` int64 class indices (-1 where missing), or float64 values (NaN where missing).

    Raises
    ------
    UserError
        A label is none of ``task.classes``, or no finite number in a regression.
    """
    values = arrow_values(labels, task.target)
    if not task.is_classification:
        return _regression_values(values, task.target)
    texts = is_text(values.type) == isinstance(task.classes[0], str)
    if not texts:
        raise UserError(
            f"Wanted labels such as {task.classes[0]!r} in the target column {task.target!r}, "
            f"got {values.type}.",
            hint="the labels must be of the type they had in the training data.",
        )
    encoded = pc.dictionary_encode(_without_gaps(values))
    position = {label: index for index, label in enumerate(task.classes)}
    found = [_label(value, task.target) for value in encoded.dictionary.to_pylist()]
    unseen = [label for label in found if label not in position]
    if unseen:
        raise UserError(
            f"The target column {task.target!r} has labels that the training data does not have: "
            f"{listed(unseen)}.",
            hint=f"the classes are {listed(task.classes)}; correct these labels or leave the rows out.",
        )
    codes: Ints = encoded.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    indices = np.array([*(position[label] for label in found), -1], dtype=np.int64)
    return np.asarray(indices[codes], dtype=np.int64)


def _are_values(values: pa.Array, target: str) -> bool:
    """Whether the labels are quantities rather than classes."""
    if not is_number(values.type):
        return False
    numbers = to_numbers(values, target)
    distinct, counts = np.unique(numbers, return_counts=True)
    if not np.isfinite(distinct).all() or (distinct != np.floor(distinct)).any():
        return True
    if len(distinct) <= MAX_CODES:
        return False
    contiguous = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1
    return not (contiguous and len(distinct) <= MAX_CONTIGUOUS_CODES and counts.min() >= _ROWS_PER_CODE)


def _regression_values(values: pa.Array, target: str) -> Labels:
    """``(n,)`` float64, NaN where missing."""
    if is_text(values.type):
        share, wrong = number_share(values)
        if share < 1:
            raise UserError(
                f"Wanted numbers in the target column {target!r} for regression, "
                f"got {offenders(values, wrong)}.",
                hint="leave the task out for classification, or correct these values.",
            )
    numbers = to_numbers(values, target)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise UserError(
            f"Wanted finite numbers in the target column {target!r}, got {offenders(values, infinite)}.",
            hint="remove these rows or make them empty (missing): rows without a target are left out.",
        )
    return numbers


def _classification(values: pa.Array, target: str, kind: TaskKind | None) -> Task:
    counted = pc.value_counts(_without_gaps(values))
    counts: dict[Label, int] = {}
    for value, count in zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True):
        if value is not None:
            label = _label(value, target)
            counts[label] = counts.get(label, 0) + count
    classes = sorted(counts)
    if len(classes) < 2:
        got = f"one, {classes[0]!r}" if classes else "none"
        raise UserError(
            f"Wanted at least two classes in the target column {target!r}, got {got}.",
            hint="there is nothing to tell apart; is it the right column?",
        )
    rare = [label for label in classes if counts[label] == 1]
    if rare:
        raise UserError(
            f"Wanted at least two rows of every class in the target column {target!r}; "
            f"{'this class has' if len(rare) == 1 else 'these classes have'} one: {listed(rare)}.",
            hint="leave the rows out, or merge the class with another"
            + ("; if the target is a quantity, say task=regression." if is_number(values.type) else "."),
        )
    if kind == "binary" and len(classes) > 2:
        raise UserError(
            f"Wanted two classes in the target column {target!r} for a binary task, got {len(classes)}: "
            f"{listed(classes)}.",
            hint="leave the task out, or merge classes.",
        )
    return Task(kind="binary" if len(classes) == 2 else "multiclass", target=target, classes=tuple(classes))


def _without_gaps(values: pa.Array) -> pa.Array:
    """The labels with null wherever they are missing."""
    return pc.if_else(pa.array(missing(values)), pa.scalar(None, values.type), values)


def _label(value: Any, target: str) -> Label:
    """A label as text, int or bool; 3.0 is the class 3."""
    if isinstance(value, str | bool | int):
        return value
    number = float(value)
    if number != np.floor(number):
        raise UserError(
            f"Wanted classes in the target column {target!r}, got the number {number!r}.",
            hint="say task=regression, or turn the numbers into texts.",
        )
    return int(number)
