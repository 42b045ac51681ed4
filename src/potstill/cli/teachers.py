"""Fitted teachers asked about the rows of a file, for the commands that do no distilling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from potstill.errors import UserError

if TYPE_CHECKING:
    from potstill.artifact import Model
    from potstill.types import Dataset, Floats, Task, Teacher

TIMED_ROWS = 50
"""Rows that teachers are timed on, one at a time."""


def fitted_teachers(sources: Sequence[Any], task: Task, *, trust: bool) -> list[Teacher]:
    """Adopt ``sources``; all must be fitted already.

    Raises
    ------
    UserError
        One is not, or cannot answer the task.
    """
    from potstill.teachers import adopt_all
    from potstill.types import Trainable

    teachers: list[Teacher] = []
    for source in adopt_all(sources, task=task, trust=trust):
        if isinstance(source, Trainable):
            raise UserError(
                f"Wanted fitted teachers, but {source.name!r} is not fitted.",
                hint="Fit it first, or let `potstill distill` do it.",
            )
        teachers.append(source)
    return teachers


def teacher_answers(sources: Sequence[Any], rows: str, model: Model, *, target: str, trust: bool) -> Floats:
    """What the teachers answer on average, ``(n, K)``, for the rows of a file in the terms of ``model``."""
    dataset = _dataset(rows, model, target)
    teachers = fitted_teachers(sources, model.task, trust=trust)
    answers: Floats = np.mean([teacher.predict(dataset) for teacher in teachers], axis=0, dtype=np.float32)
    return answers


def one_row_calls(
    sources: Sequence[Any], rows: str, model: Model, *, target: str, trust: bool
) -> list[Callable[[], object]]:
    """For each of some rows of a file a call that asks all teachers about it alone."""
    dataset = _dataset(rows, model, target)
    teachers = fitted_teachers(sources, model.task, trust=trust)

    def call(one: Dataset) -> Callable[[], object]:
        return lambda: [teacher.predict(one) for teacher in teachers]

    return [call(dataset.take(np.array([row]))) for row in range(min(len(dataset), TIMED_ROWS))]


def _dataset(rows: str, model: Model, target: str) -> Dataset:
    from potstill.data import read_rows
    from potstill.types import Dataset

    frame = read_rows(rows)
    inputs = frame.drop(target) if target in frame.columns else frame
    ids = np.arange(len(inputs), dtype=np.int64)
    return Dataset(rows=inputs, task=model.task, schema=model.schema, ids=ids)
