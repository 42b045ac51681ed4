"""Rows in whatever shape they come → the columns a schema names. A type's module tells its library.

Importing pandas, polars or pyarrow only to ask ``isinstance`` would cost a service half a second and a hard
dependency; a frame that reaches us proves its library is loaded, and the name of its type says which.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from potstill.artifact.values import Values
from potstill.errors import UserError
from potstill.types import ColumnKind, Schema

_ACCEPTED = "a dict of columns, a list of dicts, or a pandas, polars or pyarrow table"
_AS_TEXT = ("categorical", "text")
_ARRAY_COLUMN = re.compile(r"x(\d+)")


@dataclass(frozen=True)
class Source:
    """Rows opened, no column converted yet.

    Parameters
    ----------
    names
        Names of the columns, in order.
    n_rows
        Number of rows; None when only the columns themselves know.
    column
        Position to the native column.
    """

    names: tuple[str, ...]
    n_rows: int | None
    column: Callable[[int], Any]


def open_rows(rows: Any, schema: Schema) -> Source:
    """Open rows of any accepted shape.

    Raises
    ------
    UserError
        When ``rows`` is of another shape.
    """
    for module, name in _lineage(rows):
        if opener := _FRAMES.get((module, name)):
            return opener(rows, schema)
    if isinstance(rows, Mapping):
        return _open_mapping(rows)
    if isinstance(rows, np.ndarray):
        return _open_array(rows, schema)
    if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
        return _open_records(rows, schema)
    raise UserError(
        f"The rows are a {type(rows).__name__}; wanted {_ACCEPTED}.",
        hint="Convert them first, for instance with .to_pandas(), .to_arrow() or .collect().",
    )


def positions(source: Source, schema: Schema) -> list[int]:
    """Where each column of the schema is in the source.

    Raises
    ------
    UserError
        When a column is absent or there twice.
    """
    where: dict[str, int] = {name: position for position, name in enumerate(source.names)}
    if absent := [name for name in schema.names if name not in where]:
        raise missing_columns(absent, source.names)
    if len(where) < len(source.names):
        for name in schema.names:
            if source.names.count(name) > 1:
                raise UserError(
                    f"The rows have {source.names.count(name)} columns named {name!r}; wanted one.",
                    hint="Rename or drop the others.",
                )
    return [where[name] for name in schema.names]


def missing_columns(
    absent: Sequence[str], present: Sequence[str], *, hint: str = "Pass None where a value is missing."
) -> UserError:
    """The error for columns the model takes and the rows lack; ``hint`` if no name is similar."""
    listed = ", ".join(repr(name) for name in absent[:10]) + (", …" if len(absent) > 10 else "")
    near = [
        f"{match!r} (for {name!r})"
        for name in absent[:10]
        for match in difflib.get_close_matches(name, [n for n in present if n not in absent], n=1)
    ]
    folded = {name.casefold().strip(): name for name in present}
    if not near:
        near = [
            f"{folded[key]!r} (for {name!r})" for name in absent[:10] if (key := name.casefold()) in folded
        ]
    word = "column" if len(absent) == 1 else f"{len(absent)} columns"
    hint = f"The rows do have {', '.join(near)}." if near else hint
    return UserError(f"The rows lack {word} {listed}, which the model takes.", hint=hint)


def values_of(column: Any, kind: ColumnKind, name: str) -> Values:
    """The values of one native column, ready for the converter of its kind.

    Raises
    ------
    UserError
        When the column is not a rank-1 sequence of values.
    """
    for module, _ in _lineage(column):
        if reader := _SERIES.get(module):
            return reader(column, kind)
    if isinstance(column, np.ma.MaskedArray) and column.ndim == 1:
        masked: list[Any] = column.tolist()
        return masked
    if isinstance(column, np.ndarray) and (column.ndim == 1 or kind == "image"):
        return column
    if isinstance(column, Sequence) and not isinstance(column, (str, bytes)):
        return list(column)
    shape = f" of shape {column.shape}" if isinstance(column, np.ndarray) else ""
    raise UserError(
        f"Column {name!r} is a {type(column).__name__}{shape}; wanted one value a row.",
        hint="For one row as a dict of single values use predict_one.",
    )


def _lineage(thing: Any) -> list[tuple[str, str]]:
    """Top-level module and name of the type and its bases: ``("pandas", "DataFrame")``."""
    return [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(thing).__mro__]


def _open_pandas(rows: Any, _: Schema) -> Source:
    names = tuple(str(name) for name in rows.columns)
    return Source(names, len(rows), lambda position: rows.iloc[:, position])


def _open_polars(rows: Any, _: Schema) -> Source:
    return Source(tuple(rows.columns), rows.height, rows.to_series)


def _open_pyarrow(rows: Any, _: Schema) -> Source:
    return Source(tuple(rows.schema.names), rows.num_rows, rows.column)


def _open_narwhals(rows: Any, schema: Schema) -> Source:
    return open_rows(rows.to_native(), schema)


def _refuse_lazy(rows: Any, _: Schema) -> Source:
    raise UserError(
        f"The rows are a lazy {type(rows).__name__}; wanted {_ACCEPTED}.", hint="Call .collect() first."
    )


_FRAMES: dict[tuple[str, str], Callable[[Any, Schema], Source]] = {
    ("pandas", "DataFrame"): _open_pandas,
    ("polars", "DataFrame"): _open_polars,
    ("polars", "LazyFrame"): _refuse_lazy,
    ("pyarrow", "Table"): _open_pyarrow,
    ("pyarrow", "RecordBatch"): _open_pyarrow,
    ("narwhals", "DataFrame"): _open_narwhals,
    ("narwhals", "LazyFrame"): _refuse_lazy,
}


def _open_mapping(rows: Mapping[Any, Any]) -> Source:
    columns = list(rows.values())
    return Source(tuple(str(name) for name in rows), None, columns.__getitem__)


def _open_array(rows: np.ndarray[Any, Any], schema: Schema) -> Source:
    known = [*schema.names, *(column.name for column in schema.dropped)]
    indices = [int(match[1]) for name in known if (match := _ARRAY_COLUMN.fullmatch(name))]
    if rows.ndim != 2 or len(indices) < len(known):
        why = (
            "its columns have names"
            if len(indices) < len(known)
            else f"an array of {rows.ndim} axes is not rows"
        )
        raise UserError(
            f"The rows are an array of shape {rows.shape}, but the model was not trained on such: {why}.",
            hint=f"Give {_ACCEPTED}.",
        )
    if max(indices, default=-1) >= rows.shape[1] or rows.shape[1] > len(known):
        raise UserError(
            f"The rows are an array of {rows.shape[1]} columns; the model was trained on {len(known)}.",
            hint="Pass the same columns in the same order as in training.",
        )
    names = tuple(f"x{index}" for index in range(rows.shape[1]))
    return Source(names, rows.shape[0], lambda position: rows[:, position])


def _open_records(rows: Sequence[Any], schema: Schema) -> Source:
    for row, record in enumerate(rows):
        if not isinstance(record, Mapping):
            raise UserError(
                f"Row {row} is a {type(record).__name__}; wanted a dict of column names to values.",
                hint=f"Give {_ACCEPTED}.",
            )
        if absent := [name for name in schema.names if name not in record]:
            raise missing_columns(absent, tuple(record))
    names = schema.names
    return Source(names, len(rows), lambda position: [record[names[position]] for record in rows])


def _pandas_values(column: Any, kind: ColumnKind) -> Values:
    plain = isinstance(column.dtype, np.dtype)
    if plain and column.dtype.kind in "biufmM":
        values: Values = column.to_numpy()
    elif not plain and column.dtype.kind in "iuf" and kind not in _AS_TEXT:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = column.to_numpy(dtype=object, na_value=None)
    return values


def _polars_values(column: Any, kind: ColumnKind) -> Values:
    # numpy has no 128-bit integers; and categories must not pass through float, which rounds large codes
    if kind in _AS_TEXT or str(column.dtype) in ("Int128", "UInt128"):
        listed: list[Any] = column.to_list()
        return listed
    values: Values = column.to_numpy()
    return values


def _pyarrow_values(column: Any, kind: ColumnKind) -> Values:
    name = str(column.type)
    # nanosecond timestamps become Python objects only with pandas' help, and a chunked dictionary
    # column with nulls comes out of to_numpy with its nulls replaced by levels
    if name.startswith("dictionary") or (kind in _AS_TEXT and not name.startswith(("timestamp", "duration"))):
        listed: list[Any] = column.to_pylist()
        return listed
    values: Values = column.to_numpy(zero_copy_only=False)
    return values


def _narwhals_values(column: Any, kind: ColumnKind) -> Values:
    return values_of(column.to_native(), kind, column.name)


_SERIES: dict[str, Callable[[Any, ColumnKind], Values]] = {
    "pandas": _pandas_values,
    "polars": _polars_values,
    "pyarrow": _pyarrow_values,
    "narwhals": _narwhals_values,
}
