"""What every augmenter must hold to."""

from __future__ import annotations

from typing import Any

import narwhals as nw
import numpy as np

from potstill.types import Augmenter, Column, Dataset, Ints

_FEW_VALUES = 20
_OFTEN_MISSING = 0.05
_MANY_ROWS = 200


def check_augmenter(augmenter: Augmenter, dataset: Dataset, *, n_rows: int | None = None) -> None:
    """Check an augmenter against the contract of `potstill.types.Augmenter`.

    It makes at most as many rows as asked for, of the same columns and native types, none equal to a real
    row; names, dates and numbers with few values are real ones, other numbers lie between the smallest and
    the largest real one and are whole where those are (texts and pictures may be new altogether); values are
    missing only in columns where real ones are, and there too where that is not rare; the same seed gives
    the same rows and the real ones stay as they were.

    Parameters
    ----------
    augmenter
        The augmenter, with any hyper-parameters.
    dataset
        Real rows.
    n_rows
        Rows to ask for; twice the real ones by default.

    Raises
    ------
    AssertionError
        The augmenter breaks the contract; the message says where.
    """
    wanted = 2 * len(dataset) if n_rows is None else n_rows
    before = _texts(dataset.rows, dataset.rows.columns)
    rows, parents = augmenter.augment(dataset, wanted, seed=0)
    assert _texts(dataset.rows, dataset.rows.columns) == before, f"{augmenter.name} changed the real rows"
    assert len(rows) <= wanted, f"{augmenter.name} made {len(rows)} rows, more than the {wanted} asked for"
    # An empty pandas column of objects has no type to compare.
    made, real = (rows.schema, dataset.rows.schema) if len(rows) else (rows.columns, dataset.rows.columns)
    assert made == real, f"{augmenter.name} made columns {made}, the real ones are {real}"
    assert rows.implementation == dataset.rows.implementation, f"{augmenter.name} changed the kind of frame"
    _check_parents(augmenter, parents, len(rows), len(dataset))
    _check_new(augmenter, dataset, rows)
    for column in dataset.schema.columns:
        _check_values(augmenter, column, dataset.rows[column.name], rows[column.name])
    again, parents_again = augmenter.augment(dataset, wanted, seed=0)
    assert _texts(again, again.columns) == _texts(rows, rows.columns), (
        f"{augmenter.name} is not deterministic"
    )
    assert np.array_equal(parents, parents_again), f"{augmenter.name} is not deterministic in its parents"
    other, _ = augmenter.augment(dataset, wanted, seed=1)
    assert not len(rows) or _texts(other, other.columns) != _texts(rows, rows.columns), (
        f"{augmenter.name} makes the same rows from another seed"
    )
    nothing, no_parents = augmenter.augment(dataset, 0, seed=0)
    assert len(nothing) == len(no_parents) == 0, f"{augmenter.name} made rows when asked for none"


def _check_parents(augmenter: Augmenter, parents: Ints, n_rows: int, n_real: int) -> None:
    assert parents.dtype == np.int64, f"{augmenter.name} gave parents of type {parents.dtype}, wanted int64"
    assert parents.shape == (n_rows,), f"{augmenter.name} gave {parents.shape} parents for {n_rows} rows"
    assert not n_rows or 0 <= parents.min() <= parents.max() < n_real, f"{augmenter.name}: no such parent"


def _check_new(augmenter: Augmenter, dataset: Dataset, rows: nw.DataFrame[Any]) -> None:
    names = list(dataset.schema.names)
    copies = set(_texts(rows, names)) & set(_texts(dataset.rows, names))
    assert not copies, f"{augmenter.name} copied {len(copies)} real rows, such as {next(iter(copies))}"


def _check_values(augmenter: Augmenter, column: Column, real: nw.Series[Any], made: nw.Series[Any]) -> None:
    where = f"{augmenter.name}, column {column.name!r}"
    real_values, made_values = _present(real), _present(made)
    if len(real_values) == len(real):
        assert len(made_values) == len(made), f"{where}: a missing value, where no real one is missing"
    elif len(real_values) < (1 - _OFTEN_MISSING) * len(real) and len(made) >= _MANY_ROWS:
        assert len(made_values) < len(made), f"{where}: no missing value, where real ones are missing"
    if column.kind in ("text", "image"):
        return
    known = set(real_values)
    if column.kind != "numeric" or len(known) <= _FEW_VALUES:
        unknown = set(made_values) - known
        assert not unknown, f"{where}: values that no real row has, such as {next(iter(unknown))!r}"
        return
    if not made_values:
        return
    low, high = min(made_values), max(made_values)
    assert min(known) <= low <= high <= max(known), (
        f"{where}: values from {low} to {high}, real ones from {min(known)} to {max(known)}"
    )
    if all(float(value).is_integer() for value in known):
        assert all(float(value).is_integer() for value in made_values), (
            f"{where}: fractions among whole numbers"
        )


def _present(series: nw.Series[Any]) -> list[Any]:
    # A missing number is None or NaN, by the kind of frame; only NaN differs from itself.
    return [value for value in series.drop_nulls().to_list() if value == value]  # noqa: PLR0124


def _texts(rows: nw.DataFrame[Any], names: list[str]) -> list[str]:
    return [repr(row) for row in rows.select(names).rows()]
