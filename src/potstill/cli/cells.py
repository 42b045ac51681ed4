"""Values of a file to the values a model takes, CSV cells by the same rules as in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from potstill.artifact.columns import LARGE_ROWS_AT_ONCE, lone_picture_column
from potstill.artifact.folders import IMAGE
from potstill.artifact.frames import missing_columns
from potstill.artifact.pictures import picture_batches, picture_of
from potstill.artifact.refused import Refused, shown
from potstill.artifact.refused import is_missing as no_value
from potstill.artifact.values import CONVERTERS, to_days, to_free_text, to_text
from potstill.cli.rows import Chunk
from potstill.errors import UserError
from potstill.types import NULL_TEXTS, Column, ColumnKind, Schema

_MISSING = frozenset(NULL_TEXTS)
_GIVE_COLUMNS = "Give every column the model takes, its cells empty where a value is not known."
_FLAGS = {"true": 1.0, "false": 0.0}


def model_columns(chunk: Chunk, schema: Schema, *, where: str) -> dict[str, Sequence[Any]]:
    """The columns of ``chunk`` that ``schema`` takes, their values converted.

    Raises
    ------
    UserError
        A column is absent, or a value is not what its column takes; with its line and column.
    """
    chunk = _complete(chunk, schema)
    return {column.name: _converted(chunk, column, where) for column in schema.columns}


def model_batches(chunk: Chunk, schema: Schema, *, where: str) -> Iterator[dict[str, Any]]:
    """`model_columns` of all the rows, pictures some at a time, so that few of them are decoded at once.

    Raises
    ------
    UserError
        As `model_columns`.
    """
    column = lone_picture_column(schema)
    if column is None:
        yield model_columns(chunk, schema, where=where)
        return
    pictures = _each_converted(_complete(chunk, schema), column, where)
    for batch in picture_batches(pictures, column.shape[2], at_once=LARGE_ROWS_AT_ONCE):
        yield {column.name: batch}


def is_missing(value: Any) -> bool:
    """Whether a value of a file, a CSV cell or a typed one, is none at all."""
    return no_value(value) or (isinstance(value, str) and value in _MISSING)


def _complete(chunk: Chunk, schema: Schema) -> Chunk:
    """The chunk, if it has every column of ``schema``; a folder calls its pictures what the model does."""
    if chunk.unit == "file" and len(schema.names) == 1:
        chunk = replace(chunk, columns={schema.names[0]: chunk.columns[IMAGE], **chunk.columns})
    if absent := [name for name in schema.names if name not in chunk.columns]:
        raise missing_columns(absent, tuple(chunk.columns), hint=_GIVE_COLUMNS)
    return chunk


def _converted(chunk: Chunk, column: Column, where: str) -> Sequence[Any]:
    values = chunk.columns[column.name]
    if chunk.as_text and column.kind == "categorical":
        return _levels(values, column)
    if isinstance(values, np.ndarray) and column.kind == "numeric":
        return values
    return list(_each_converted(chunk, column, where))


def _each_converted(chunk: Chunk, column: Column, where: str) -> Iterator[Any]:
    convert = (_CELL_CONVERTERS if chunk.as_text else _VALUE_CHECKS)[column.kind]
    for value, line in zip(chunk.columns[column.name], chunk.lines, strict=True):
        try:
            converted = convert(value)
        except ValueError as error:
            refusal = error if isinstance(error, Refused) else Refused(_WANTED[column.kind], value, "")
            place = f"{where}, {chunk.unit} {line}, column {column.name!r}"
            raise UserError(
                f"{place}: wanted {refusal.wanted}, got {shown(refusal.value)}.",
                hint=_HINTS.get(
                    column.kind,
                    f"Leave the {'cell empty' if chunk.as_text else 'value out'} where it is not known.",
                ),
            ) from None
        yield converted


def _number(cell: str) -> float | None:
    if cell in _MISSING:
        return None
    if "_" in cell:  # Python reads 1_000 as a number, no other reader of CSV does
        raise ValueError(cell)
    return float(cell)


def _flag(cell: str) -> float | None:
    number = _FLAGS.get(cell.lower())
    number = _number(cell) if number is None else number
    if number not in (None, 0.0, 1.0):
        raise ValueError(cell)
    return number


def _sentence(cell: str) -> str | None:
    return None if cell in _MISSING else to_free_text(cell)


def _day(cell: str) -> str | None:
    return None if cell in _MISSING else _checked_day(cell)


def _checked_day(value: Any) -> Any:
    # The model wants a date, not the number it becomes: this only makes sure that it will become one.
    to_days(value)
    return value


_CELL_CONVERTERS: Mapping[ColumnKind, Callable[[str], Any]] = {
    "numeric": _number,
    "boolean": _flag,
    "date": _day,
    "text": _sentence,
    "image": picture_of,
}
_VALUE_CHECKS: Mapping[ColumnKind, Callable[[Any], Any]] = {**CONVERTERS, "date": _checked_day}
_WANTED = {"numeric": "numbers", "boolean": "true, false, 0 or 1"}
_HINTS: Mapping[ColumnKind, str] = {"image": "Leave the picture out, or put a whole one in its place."}


def _levels(cells: Sequence[str], column: Column) -> list[str]:
    """Cells as training wrote its levels, where a column read as numbers has ``3`` for ``03`` and ``3.0``."""
    known = set(column.levels)
    written = dict.fromkeys(_MISSING, "")
    for cell in set(cells) - _MISSING:
        written[cell] = cell if cell in known else _as_typed_level(cell, known)
    return [written[cell] for cell in cells]


def _as_typed_level(cell: str, known: set[str]) -> str:
    """``cell`` as its number or boolean is written, if that is a level; else as it is."""
    if cell.lower() in _FLAGS:
        text = cell.lower()
    else:
        try:
            text = to_text(float(cell))
        except ValueError:
            return cell
    return text if text in known else cell


def label_texts(values: Sequence[Any], known: set[str]) -> list[str]:
    """Labels as texts: ``3.0`` and ``03`` are ``3``, ``True`` is ``true`` where that is a ``known`` one."""
    texts = map(to_text, values.tolist() if isinstance(values, np.ndarray) else values)
    return [text if text in known else _as_typed_level(text, known) for text in texts]
