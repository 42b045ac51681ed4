"""Rows made to match others: the same columns in the same order, of the same kinds, in the same library."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import narwhals as nw
import pyarrow as pa

from potstill.data.columns import (
    arrow_column,
    is_text,
    listed,
    missing,
    to_booleans,
    to_days,
    to_numbers,
    to_texts,
)
from potstill.data.pictures import check_files
from potstill.errors import UserError
from potstill.types import ColumnKind, Dataset


def same_columns(inputs: nw.DataFrame[Any], like: Dataset) -> tuple[nw.DataFrame[Any], list[str]]:
    """The columns of ``like``, in its order and over the same kind of frame, and notes about others."""
    optional = {column.name for column in like.schema.dropped}
    kinds = {column.name: column.kind for column in like.schema.columns}
    absent = [name for name in like.rows.columns if name not in inputs.columns and name not in optional]
    if absent:
        raise UserError(
            f"Wanted the columns of the training data, but {listed(absent)} "
            f"{'is' if len(absent) == 1 else 'are'} not there; the columns are {listed(inputs.columns)}.",
            hint="the rows must have every column that the model takes.",
        )
    wanted = [name for name in like.rows.columns if name in inputs.columns]
    extra = [name for name in inputs.columns if name not in like.rows.columns]
    notes = [f"Columns that the training data does not have are not used: {listed(extra)}."] if extra else []
    same = inputs.select(wanted)
    for name in [name for name in wanted if name in kinds]:
        _check_kind(arrow_column(same, name), name, kinds[name], arrow_column(like.rows, name))
    texts = [name for name in wanted if name in kinds and is_text(arrow_column(like.rows, name).type)]
    same = converted(same, kinds, text=texts)
    if same.implementation != like.rows.implementation:
        same = nw.DataFrame.from_arrow(same.to_arrow(), backend=like.rows.implementation)
    return same, notes


def converted(
    rows: nw.DataFrame[Any], kinds: Mapping[str, ColumnKind], text: Sequence[str] = ()
) -> nw.DataFrame[Any]:
    """``rows`` with numbers where numeric columns have texts, and texts where those of ``text`` have numbers.

    Codes that happen to be all digits are read as numbers; the rows they belong with may have letters too.
    """
    changed = {}
    for name, kind in kinds.items():
        values = arrow_column(rows, name)
        if kind == "numeric" and is_text(values.type):
            changed[name] = pa.array(to_numbers(values, name), from_pandas=True)
        elif kind in ("categorical", "text") and name in text and not is_text(values.type):
            changed[name] = to_texts(values, name)
    if not changed:
        return rows
    # Not by way of the whole frame: a column that is left out may have no Arrow type.
    new = nw.DataFrame.from_arrow(pa.table(changed), backend=rows.implementation)
    return rows.with_columns(*(new[name] for name in changed))


_READ_AS: dict[ColumnKind, Callable[[pa.Array, str], Any]] = {
    "numeric": to_numbers,
    "boolean": to_booleans,
    "date": to_days,
    "categorical": to_texts,
    "text": to_texts,
    "image": check_files,
}


def _check_kind(values: pa.Array, name: str, kind: ColumnKind, before: pa.Array) -> None:
    """Raise a UserError when ``values`` cannot be what the column was in training."""
    if missing(values).all():
        return
    try:
        _READ_AS[kind](values, name)
    except UserError as error:
        raise UserError(
            f"{error.message.removesuffix('.')}; in the training data the column is {kind} ({before.type}).",
            hint="convert the column to the type it has in the training data.",
        ) from error
