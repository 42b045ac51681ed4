"""The rows of a Dataset as the libraries of teachers take them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.types import Dataset, Floats


def native(dataset: Dataset) -> Any:
    """The rows as the caller gave them: a 2-d array, or a pandas or polars frame.

    Rows that were read from a file are a pyarrow table, which scikit-learn and its kin do not take; they come
    as a pandas frame.
    """
    if dataset.from_array:
        return dataset.rows.to_numpy()
    if dataset.rows.implementation.is_pyarrow():
        return pandas_frame(dataset)
    return nw.to_native(dataset.rows)


def pandas_frame(dataset: Dataset) -> Any:
    """The rows as a pandas frame; booleans with missing values become floats (0, 1, NaN)."""
    frame = dataset.rows.to_pandas()
    loose = [
        name
        for name, dtype in dataset.rows.schema.items()
        if dtype == nw.Boolean and frame[name].dtype == object
    ]
    return frame.assign(**{name: frame[name].astype("float64") for name in loose}) if loose else frame


def array(dataset: Dataset) -> NDArray[Any]:
    """The rows as a 2-d array, dtype object when the columns are of several kinds."""
    return np.asarray(dataset.rows.to_numpy() if dataset.from_array else pandas_frame(dataset).to_numpy())


def matrix(dataset: Dataset, teacher: str) -> Floats:
    """All columns as one ``(n, F)`` float32 matrix, NaN where a value is missing.

    Raises
    ------
    UserError
        If a column is neither numeric nor boolean.
    """
    columns = []
    for name, dtype in dataset.rows.schema.items():
        if not (dtype.is_numeric() or dtype == nw.Boolean):
            raise UserError(
                f"Teacher {teacher!r} takes one matrix of numbers: wanted numeric or boolean columns, "
                f"got column {name!r} of type {dtype}.",
                hint="Hand over a function of the rows that encodes them and calls the model.",
            )
        columns.append(dataset.rows[name].cast(nw.Float64).to_numpy())
    if not columns:
        return np.empty((len(dataset), 0), dtype=np.float32)
    with np.errstate(over="ignore"):
        return np.column_stack(columns).astype(np.float32)


def model_columns(dataset: Dataset) -> Dataset:
    """The dataset with the schema's columns alone: what a Trainable is fitted on.

    A column the caller dropped, because it tells the target or only numbers the rows, must not come back
    through a teacher. Arrays keep all columns: theirs are known by position.
    """
    if dataset.from_array:
        return dataset
    return replace(dataset, rows=dataset.rows.select(*dataset.schema.names))


def select(
    dataset: Dataset, names: Sequence[str] | None, teacher: str, *, n_columns: int | None = None
) -> Dataset:
    """The dataset with just the columns a fitted model wants, in its order.

    Parameters
    ----------
    dataset
        The rows.
    names
        Columns the model was fitted on; None when it knows no names. Names that merely count
        (``Column_0``, ``f0``) are no names either.
    teacher
        The teacher's name, for messages.
    n_columns
        How many columns the model was fitted on, where it knows no names; None when it does not know that.

    Raises
    ------
    UserError
        If a column is missing, or their number is another.
    """
    present = dataset.rows.columns
    if names is not None:
        wanted = [str(name) for name in names]
        if set(wanted) <= set(present):
            return replace(dataset, rows=dataset.rows.select(*wanted))
        if dataset.from_array and len(wanted) == len(present):
            renamed = dataset.rows.rename(dict(zip(present, wanted, strict=True)))
            return replace(dataset, rows=renamed, from_array=False)
        if not _only_count(wanted):
            raise UserError(
                f"Teacher {teacher!r} was fitted on {listed(n for n in wanted if n not in present)}, "
                "which the "
                f"rows do not have: wanted all of its {len(wanted)} columns, got {listed(present)}.",
                hint="Give rows with the columns the teacher was fitted on; extra columns do no harm.",
            )
        n_columns = len(wanted)
    if n_columns is None or n_columns == len(present):
        return dataset
    if n_columns == len(dataset.schema.names):
        return replace(dataset, rows=dataset.rows.select(*dataset.schema.names))
    raise UserError(
        f"Teacher {teacher!r} was fitted on {n_columns} columns without names: wanted {n_columns} columns, "
        f"got {len(present)}: {listed(present)}.",
        hint="Give rows with the columns the teacher was fitted on, in the same order.",
    )


def strings_as_categories(frame: Any) -> Any:
    """A pandas frame whose text columns are of dtype category, as boosting libraries want to be fitted."""
    text = frame.select_dtypes(include=["object", "string"]).columns
    return frame.assign(**{name: frame[name].astype("category") for name in text}) if len(text) else frame


def as_categories(series: Any, categories: Sequence[Any]) -> Any:
    """A pandas column recoded to the categories a model was fitted on; others become missing.

    Numbers and their text are told apart by the categories: a file may hold either.
    """
    import pandas as pd

    values = series.astype(object)
    if all(isinstance(category, str) for category in categories):
        values = values.map(_text, na_action="ignore")
    elif not pd.api.types.is_numeric_dtype(values.infer_objects()):
        values = pd.to_numeric(values, errors="coerce")
    coded = pd.Categorical(values.where(values.isin(list(categories))), categories=list(categories))
    return pd.Series(coded, index=series.index, name=series.name)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def listed(names: Iterable[str]) -> str:
    """``'a', 'b' and 3 more``."""
    every = [repr(name) for name in names]
    return ", ".join(every) if len(every) <= 8 else f"{', '.join(every[:8])} and {len(every) - 8} more"


def _only_count(names: Sequence[str]) -> bool:
    return all(re.fullmatch(r"(Column_|f|x|)\d+", name) for name in names)
