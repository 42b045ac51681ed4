"""Which columns a model takes and what they are: inferred, printed, and overridden by the caller."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.data.columns import (
    all_dates,
    arrow_column,
    is_day,
    is_number,
    is_text,
    iso_day,
    listed,
    missing,
    number_share,
    number_text,
    offenders,
    to_booleans,
    to_days,
    to_numbers,
    to_texts,
)
from potstill.data.pictures import are_pictures, is_binary, picture_column
from potstill.errors import UserError
from potstill.types import Column, ColumnKind, Doubles, DroppedColumn, Schema

MAX_LEVELS = 5_000
"""Levels of a category that have an id of their own at most; the others share one."""

MANY_ROWS = 1_000
"""From this many rows on, a level must be seen three times to have an id of its own; twice below."""

MIN_COVERED = 0.05
"""A category whose repeated levels cover less of the rows is an identifier or free text."""

PROSE_WORDS, MIN_DISTINCT = 3.0, 0.2
"""Words that a value has on average, and share of the values that differ, in a column of sentences."""

MIXED_SHARE = 0.8
"""A text column of which at least so much (but not all) reads as numbers is taken for a mistake."""

_PROSE_LOOKED_AT = 2_000
_ROW_COUNTER_ROWS = 20
_LEVEL_WIDTH = 24
_IDENTIFIER = re.compile(
    r"(?i:(?:^|[\W_])(?:ids?|idx|index|key|row|rowid|rownum|rownames|uuid|guid|unnamed)[\W_]*\d*$)|[a-z](?:Id|ID)$"
)
"""Names of columns that only tell rows apart: ``id``, ``user_id``, ``PassengerId``, ``Unnamed: 0``."""


def infer_schema(
    rows: nw.DataFrame[Any],
    *,
    kinds: Mapping[str, ColumnKind] | None = None,
    drop: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> Schema:
    """Say of every column what it is, or why it is left out.

    Parameters
    ----------
    rows
        The training rows, input columns only.
    kinds
        Columns whose kind the caller knows. They are kept even if they look constant or like an identifier.
    drop
        Columns to leave out.
    left_out
        More of them, each with the reason to give.

    Raises
    ------
    UserError
        A name given is no column, a column holds values of several kinds or none of the kind declared, or no
        column is left.
    """
    declared = dict(kinds or {})
    gone = {**(left_out or {}), **dict.fromkeys(drop, "left out as asked")}
    require_columns(rows, [*declared, *gone])
    texts = [
        name for name in rows.columns if name not in gone and name not in declared and _is_prose(rows, name)
    ]
    said: dict[str, Column | str] = {**gone}
    said |= dict.fromkeys(texts, "free text beside other columns: declare it text to use it")
    said |= {name: _infer_column(rows, name, declared.get(name)) for name in rows.columns if name not in said}
    if all(isinstance(found, str) for found in said.values()):
        said |= {name: _infer_column(rows, name, "text") for name in texts}
    found = [(name, said[name]) for name in rows.columns]
    columns = [column for _, column in found if isinstance(column, Column)]
    dropped = [DroppedColumn(name, reason) for name, reason in found if isinstance(reason, str)]
    columns, dropped = _pictures_alone(columns, dropped)
    if not columns:
        reasons = "; ".join(f"{column.name!r}: {column.reason}" for column in dropped[:8])
        raise UserError(
            f"Wanted at least one column to predict from, but none is left ({reasons}).",
            hint="declare the kind of a column to keep it.",
        )
    return Schema(columns=tuple(columns), dropped=tuple(dropped))


def _is_prose(rows: nw.DataFrame[Any], name: str) -> bool:
    """Whether a column holds sentences: several words in most values, which hardly ever come twice."""
    if rows[name].dtype != nw.String and rows[name].dtype != nw.Object:
        return False
    values = arrow_column(rows, name)
    if not is_text(values.type) or missing(values).all():
        return False
    given = pc.unique(values.filter(pa.array(~missing(values))))
    words = pc.add(pc.count_substring(given.slice(0, _PROSE_LOOKED_AT), " "), 1)
    few = len(given) < MIN_DISTINCT * len(values)
    return not few and pc.mean(words).as_py() >= PROSE_WORDS and not all_dates(given)


def _pictures_alone(
    columns: list[Column], dropped: list[DroppedColumn]
) -> tuple[list[Column], list[DroppedColumn]]:
    """Where there are pictures, the first column of them and nothing else."""
    pictures = [column for column in columns if column.kind == "image"]
    if not pictures:
        return columns, dropped
    others = [DroppedColumn(each.name, "beside a picture") for each in columns if each is not pictures[0]]
    return pictures[:1], [*dropped, *others]


def require_columns(rows: nw.DataFrame[Any], names: Iterable[str]) -> None:
    """Raise a UserError that names the nearest matches when one of ``names`` is no column of ``rows``."""
    for name in names:
        if name not in rows.columns:
            near = difflib.get_close_matches(name, rows.columns, n=3)
            meant = " or ".join(repr(match) for match in near)
            raise UserError(
                f"There is no column {name!r}; the columns are {listed(rows.columns)}.",
                hint=f"did you mean {meant}?" if near else "check the spelling, upper and lower case matter.",
            )


def describe_schema(schema: Schema, n_rows: int) -> str:
    """The schema for people: one line a column, then what is left out and why, then how to override it."""
    columns = schema.columns
    lines = [f"{len(columns)} input column{'s' * (len(columns) != 1)}, {n_rows:,} rows"]
    names = [*schema.names, *(column.name for column in schema.dropped)]
    width = min(max(map(len, names)), 40)
    lines += [f"  {column.name:<{width}}  {column.kind:<11}  {_described(column)}" for column in columns]
    if schema.dropped:
        lines.append("left out")
        lines += [f"  {column.name:<{width}}  {column.reason}" for column in schema.dropped]
    lines.append(
        "to change this: --column NAME=KIND (numeric, boolean, categorical, date, text) or --drop NAME,"
    )
    lines.append('in Python columns={"NAME": "KIND"} or drop=["NAME"]')
    return "\n".join(lines)


def _described(column: Column) -> str:
    return _values_described(column) + ", some missing" * column.has_missing


def _values_described(column: Column) -> str:
    if column.kind == "categorical":
        shown = [
            level if len(level) <= _LEVEL_WIDTH else level[: _LEVEL_WIDTH - 1] + "…"
            for level in column.levels[:4]
        ]
        more = ", …" if len(column.levels) > 4 else ""
        return f"{len(column.levels):,} level{'s' * (len(column.levels) != 1)}: {', '.join(shown)}{more}"
    if column.shape:
        height, width, channels = column.shape
        return f"looked at in {width} x {height} pixels, in {'grey' if channels == 1 else 'colour'}"
    if column.low is None or column.high is None:
        return "sentences" if column.kind == "text" else "no finite value"
    if column.kind == "date":
        return (
            f"{iso_day(column.low)} to {iso_day(column.high)}{'' if column.integer else ', with time of day'}"
        )
    if column.kind == "boolean":
        return "false or true"
    whole = ", whole" if column.integer else ""
    return f"{_short(column.low)} to {_short(column.high)}{whole}"


def _short(number: float) -> str:
    return number_text(number) if number == np.floor(number) and abs(number) < 1e15 else f"{number:.6g}"


def _infer_column(rows: nw.DataFrame[Any], name: str, declared: ColumnKind | None) -> Column | str:
    """The column, or the reason for leaving it out."""
    values = arrow_column(rows, name)
    if missing(values).all():
        return "no value in any row"
    return _column_of(values, name, declared, coded=rows[name].dtype in (nw.Categorical, nw.Enum))


def _column_of(values: pa.Array, name: str, declared: ColumnKind | None, *, coded: bool) -> Column | str:
    """The same for values some of which are given; ``coded`` where their library holds them as a category."""
    gaps = missing(values)
    kind = declared or ("categorical" if coded else _kind(values, name))
    if kind is None:
        word = "times of day" if pa.types.is_time(values.type) else f"{values.type} values"
        return f"{word} cannot be used"
    if declared is None and kind != "image":
        reason = _useless(values, name, n_given=len(values) - int(gaps.sum()))
        if reason:
            return reason
    has_missing = bool(gaps.any())
    if kind == "categorical":
        levels, covered = _levels(values, name)
        if declared is None and covered < MIN_COVERED:
            return "nearly every value differs: an identifier or free text"
        return Column(name, kind, levels=levels, has_missing=has_missing)
    if kind in _UNRANGED:
        return _UNRANGED[kind](values, name, has_missing)
    convert = {"numeric": to_numbers, "boolean": to_booleans, "date": to_days}[kind]
    return _ranged(name, kind, convert(values, name), has_missing)


def _text_column(values: pa.Array, name: str, has_missing: bool) -> Column:
    to_texts(values, name)  # raises where they have no text
    return Column(name, "text", has_missing=has_missing)


_UNRANGED: dict[ColumnKind, Callable[[pa.Array, str, bool], Column]] = {
    "text": _text_column,
    "image": picture_column,
}


def _typed_kind(values: pa.Array) -> ColumnKind | None:
    """The kind that follows from the type of the values; None where it does not."""
    kind = values.type
    if pa.types.is_boolean(kind):
        return "boolean"
    if is_number(kind):
        return "numeric"
    if is_day(kind):
        return "date"
    return "image" if is_binary(kind) and are_pictures(values) else None


def _kind(values: pa.Array, name: str) -> ColumnKind | None:
    typed = _typed_kind(values)
    if typed is not None or not is_text(values.type):
        return typed
    if all_dates(values):
        return "date"
    share, wrong = number_share(values)
    if MIXED_SHARE <= share < 1:
        raise UserError(
            f"Column {name!r} mixes numbers and text: {share:.0%} of its values are numbers, "
            f"but there is {offenders(values, wrong)}.",
            hint=f"correct these values or make them empty (missing), or declare {name!r} categorical.",
        )
    return "categorical"


def _useless(values: pa.Array, name: str, *, n_given: int) -> str:
    """Why the column says nothing about new rows; empty when it may."""
    distinct = len(pc.unique(values.filter(pa.array(~missing(values)))))
    if distinct == 1 and n_given == len(values):
        return "constant: one value in every row"
    if distinct < n_given or n_given < len(values):
        return ""
    named = len(values) > 2 and bool(_IDENTIFIER.search(name))
    if is_text(values.type):
        return "identifier: every value differs" if named else ""
    return _useless_number(to_numbers(values, name), named) if is_number(values.type) else ""


def _useless_number(numbers: Doubles, named: bool) -> str:
    """Why numbers that all differ say nothing; ``named`` is whether the column is called an identifier."""
    if not np.isfinite(numbers).all() or (numbers != np.floor(numbers)).any():
        return ""
    if named:
        return "identifier: every value differs"
    counted = len(numbers) >= _ROW_COUNTER_ROWS and numbers[0] in (0, 1) and (np.diff(numbers) == 1).all()
    return "identifier: it counts the rows" if counted else ""


def _levels(values: pa.Array, name: str) -> tuple[tuple[str, ...], float]:
    """The levels with an id of their own, most frequent first, and the share of given values they cover."""
    counted = pc.value_counts(pc.drop_null(to_texts(values, name)))
    counts = dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
    fewest = 3 if len(values) >= MANY_ROWS else 2
    frequent = sorted((-count, text) for text, count in counts.items() if count >= fewest)[:MAX_LEVELS]
    covered = -sum(count for count, _ in frequent) / max(sum(counts.values()), 1)
    return tuple(text for _, text in frequent), covered


def _ranged(name: str, kind: ColumnKind, numbers: Doubles, has_missing: bool) -> Column:
    finite = numbers[np.isfinite(numbers)]
    return Column(
        name,
        kind,
        integer=bool(len(finite) and (finite == np.floor(finite)).all() and kind != "boolean"),
        low=float(finite.min()) if len(finite) else None,
        high=float(finite.max()) if len(finite) else None,
        has_missing=has_missing,
    )
