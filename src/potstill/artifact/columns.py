"""Rows → feeds: what a table of any kind looks like to the graph. numpy only.

The one place where raw rows become the graph's inputs: what is trained on and what is predicted from go
through the same rules, those of `potstill.artifact.values`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from potstill.artifact.frames import open_rows, positions, values_of
from potstill.artifact.pictures import picture_batches, pictures_of
from potstill.artifact.refused import Refused, shown
from potstill.artifact.values import COLUMN_CONVERTERS
from potstill.errors import UserError
from potstill.types import Column, Schema

Feeds: TypeAlias = dict[str, NDArray[Any]]
"""Column name to its values: rank 1, float32, float64 (dates) or object array of str (categories, texts).
Pictures are ``(n, height, width, channels)`` uint8, or an object array of such where their sizes differ."""

LARGE_ROWS_AT_ONCE = 128
"""Pictures or texts that are asked about at once at most."""


def feeds(rows: Any, schema: Schema) -> Feeds:
    """The inputs of the graph for some rows.

    Parameters
    ----------
    rows
        A dict of columns, a list of dicts, a pandas, polars, pyarrow or narwhals frame; a 2-d array when the
        model was trained on one. Columns the schema does not name are ignored.
    schema
        The columns the model takes.

    Returns
    -------
    dict
        For each column of the schema its ``(n,)`` array: float32 for numeric and boolean columns, object
        array of str for categories and texts, float64 for dates; pictures as `Feeds` says.

    Raises
    ------
    UserError
        When a column is absent, of another length than the others, or holds a value of a wrong type.

    Examples
    --------
    >>> from potstill.types import Column
    >>> schema = Schema((Column("age", "numeric"), Column("job", "categorical")))
    >>> feeds([{"age": 39, "job": None}, {"age": None, "job": "Sales"}], schema)
    {'age': array([39., nan], dtype=float32), 'job': array(['', 'Sales'], dtype=object)}
    """
    source = open_rows(rows, schema)
    converted: Feeds = {}
    for column, position in zip(schema.columns, positions(source, schema), strict=True):
        converted[column.name] = convert_column(source.column(position), column)
    check_lengths(converted, source.n_rows)
    return converted


def feed_batches(rows: Any, schema: Schema) -> Iterator[Feeds]:
    """`feeds` of all the rows, pictures some at a time, so that few of them are decoded at once.

    Raises
    ------
    UserError
        As `feeds`.
    """
    column = lone_picture_column(schema)
    if column is None:
        yield feeds(rows, schema)
        return
    source = open_rows(rows, schema)
    (position,) = positions(source, schema)
    yield from picture_feeds(values_of(source.column(position), column.kind, column.name), column)


def lone_picture_column(schema: Schema) -> Column | None:
    """The column of a schema of pictures; None for all else."""
    return schema.columns[0] if [column.kind for column in schema.columns] == ["image"] else None


def picture_feeds(values: Iterable[Any], column: Column) -> Iterator[Feeds]:
    """Pictures as inputs of the graph, some at a time.

    Raises
    ------
    UserError
        When one of them is no picture.
    """
    try:
        for pictures in picture_batches(values, column.shape[2], at_once=LARGE_ROWS_AT_ONCE):
            yield {column.name: pictures}
    except Refused as refusal:
        raise wrong_value(column.name, refusal) from None


def convert_column(native: Any, column: Column) -> NDArray[Any]:
    """One native column (pandas, polars, pyarrow, narwhals, numpy, list) as the graph's input.

    Raises
    ------
    UserError
        When it holds a value of a wrong type.
    """
    values = values_of(native, column.kind, column.name)
    try:
        converted = COLUMN_CONVERTERS[column.kind](values)
        return pictures_of(converted, column.shape[2]) if column.shape else converted
    except Refused as refusal:
        raise wrong_value(column.name, refusal) from None


def wrong_value(name: str, refusal: Refused) -> UserError:
    """The error for a value that its column does not take."""
    got = "got" if refusal.row is None else f"row {refusal.row} holds"
    what = f"{shown(refusal.value)} ({type(refusal.value).__name__})"
    return UserError(f"Column {name!r} takes {refusal.wanted}; {got} {what}.", hint=refusal.hint)


def check_lengths(converted: Feeds, n_rows: int | None) -> None:
    """Raise when not all columns have the same number of rows."""
    expected = n_rows
    first = ""
    for name, values in converted.items():
        if expected is None:
            expected, first = len(values), name
        elif len(values) != expected:
            raise UserError(
                f"Column {name!r} has {len(values)} rows, but column {first!r} has {expected}.",
                hint="Give every column one value a row.",
            )


def slice_feeds(converted: Feeds, start: int, stop: int) -> Feeds:
    """The rows ``start`` to ``stop`` of some feeds, without a copy."""
    return {name: values[start:stop] for name, values in converted.items()}


def rows_of(converted: Feeds) -> int:
    """Number of rows of some feeds."""
    return next((len(values) for values in converted.values()), 0)


def concat_feeds(parts: list[Feeds]) -> Feeds:
    """Some feeds one after the other."""
    return {name: _joined([part[name] for part in parts]) for name in parts[0]}


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Arrays one after the other; pictures of several sizes as an object array of them."""
    filled = [array for array in arrays if len(array)] or arrays[:1]
    if len({(array.shape[1:], array.dtype) for array in filled}) == 1:
        return np.concatenate(filled)
    joined = np.empty(sum(map(len, filled)), dtype=object)
    for row, value in enumerate(value for array in filled for value in array):
        joined[row] = value
    return joined
