"""Which column of a teacher's answers is which class of the task."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from potstill.errors import UserError
from potstill.types import Ints, Label, Task


def match(labels: Sequence[Any], task: Task, teacher: str) -> Ints:
    """Position in ``task.classes`` of each of a teacher's own labels.

    Labels need not have the type of the task's classes. They are compared as they are, then numbers and
    booleans by value, then by their text; the first comparison under which every label is a different class
    counts.
    Last, the whole numbers 0…K-1 are taken as positions in the sorted classes when the task's classes are
    strings and there are exactly K of them, since every label encoder numbers sorted classes. A
    UserWarning says so.

    Parameters
    ----------
    labels
        The teacher's labels in the order of its probability columns: Python or numpy scalars.
    task
        The task, with its classes.
    teacher
        The teacher's name, for messages.

    Returns
    -------
    ``(len(labels),)`` int64.

    Raises
    ------
    UserError
        If a label is no class of the task.
    """
    own = [_plain(label) for label in labels]
    for compare in (_as_is, _by_value, _by_text):
        positions = _positions(own, task, compare)
        if positions is not None:
            return positions
    if _is_encoded(own, task):
        pairs = ", ".join(f"{code} = {label!r}" for code, label in enumerate(task.classes))
        warnings.warn(
            f"Teacher {teacher!r} answers with the numbers 0 to {len(own) - 1}; they are taken as the sorted "
            f"classes of {task.target!r}: {pairs}.",
            UserWarning,
            stacklevel=2,
        )
        return np.asarray(own, dtype=np.int64)
    known = {_by_text(label) for label in task.classes}
    strange = [label for label in own if _by_text(label) not in known] or own
    raise UserError(
        f"Teacher {teacher!r} answers with {_listed(strange)}, no class of {task.target!r}: "
        f"wanted classes among {_listed(task.classes)}.",
        hint="A teacher must have been fitted on the labels of this target; a callable can translate "
        "its columns.",
    )


def translated(labels: Sequence[Any], task: Task, teacher: str) -> tuple[Label, ...]:
    """A teacher's own labels as classes of the task: `match` once, when the teacher is adopted."""
    return tuple(task.classes[position] for position in match(labels, task, teacher))


def _plain(label: Any) -> Any:
    value = label.item() if isinstance(label, np.generic) else label
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_is(label: Any) -> Hashable:
    return type(label).__name__, label


def _by_value(label: Any) -> Hashable:
    return ("number", int(label)) if isinstance(label, bool | int) else _as_is(label)


def _by_text(label: Any) -> Hashable:
    return str(label)


def _positions(own: list[Any], task: Task, compare: Callable[[Any], Hashable]) -> Ints | None:
    position = {compare(label): index for index, label in enumerate(task.classes)}
    found = [position.get(compare(label), -1) for label in own]
    complete = -1 not in found and len(set(found)) == len(found)
    return np.asarray(found, dtype=np.int64) if complete else None


def _is_encoded(own: list[Any], task: Task) -> bool:
    numbered = [type(label) is int for label in own]
    named = [isinstance(label, str) for label in task.classes]
    return all(numbered) and all(named) and own == list(range(len(task.classes)))


def _listed(labels: Sequence[Any]) -> str:
    shown = ", ".join(repr(label) for label in labels[:6])
    return f"{shown} and {len(labels) - 6} more" if len(labels) > 6 else shown
