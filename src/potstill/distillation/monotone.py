"""Wishes of the kind "never falls as income rises": checked, and written into the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from potstill.errors import UserError
from potstill.types import Schema, Student, Task


def with_monotone(schema: Schema, monotone: Mapping[str, int], task: Task) -> Schema:
    """``schema`` whose columns carry the directions that the model must keep.

    Parameters
    ----------
    schema
        As inferred.
    monotone
        Column to +1 or -1, see `potstill.Recipe`.
    task
        Binary or regression: with more classes there is no up and down.

    Raises
    ------
    UserError
        The task has more than two classes, or a column is not there or not a number.
    """
    if not monotone:
        return schema
    if task.kind == "multiclass":
        raise UserError(
            f"Monotone constraints need two classes or a number to predict; {task.target!r} has "
            f"{len(task.classes)} classes.",
            hint="Leave the constraints out, or predict one class against the rest.",
        )
    for name in monotone:
        _check_column(name, schema)
    return msgspec.structs.replace(
        schema,
        columns=tuple(
            msgspec.structs.replace(column, monotone=monotone.get(column.name, 0))
            for column in schema.columns
        ),
    )


def _check_column(name: str, schema: Schema) -> None:
    kinds = {column.name: column.kind for column in schema.columns}
    reasons = {column.name: column.reason for column in schema.dropped}
    if name in reasons:
        raise UserError(
            f"Column {name!r} is to be monotone, but the model does not use it ({reasons[name]}).",
            hint="Leave its constraint out.",
        )
    if name not in kinds:
        raise UserError(
            f"Column {name!r} is to be monotone, but there is no such column.",
            hint=f"The columns are: {', '.join(map(repr, kinds))}.",
        )
    if kinds[name] not in ("numeric", "boolean"):
        raise UserError(
            f"Column {name!r} is to be monotone, but it is a {kinds[name]} column.",
            hint="Only numbers and booleans have an up and down; say so with its kind if it is a number.",
        )


def check_keeps_monotone(student: Student, monotone: Mapping[str, int]) -> None:
    """Raise where a student is asked for that cannot keep the constraints.

    Raises
    ------
    UserError
        The student's family cannot keep monotone constraints, and there are some.
    """
    if monotone and not student.keeps_monotone:
        raise UserError(
            f"The student {student.name} cannot keep monotone constraints.",
            hint="Name no student, or one that can; `potstill parts students` lists them all.",
        )


def describe_monotone(schema: Schema, task: Task) -> tuple[str, ...]:
    """One sentence that says what the model keeps; none where it keeps nothing."""
    what = "the value" if task.kind == "regression" else f"the probability of {task.classes[-1]!r}"
    words = [
        f"never {'falls' if column.monotone > 0 else 'rises'} as {column.name!r} rises"
        for column in schema.columns
        if column.monotone
    ]
    return (f"The student keeps, all else equal: {what} {_listed(words)}.",) if words else ()


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
