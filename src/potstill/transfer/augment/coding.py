"""A column as numbers: what augmenters compute with, whatever frame the rows came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa

from potstill.types import ColumnKind, Doubles, Ints

_FEW_VALUES = 20
_ATOM_SHARE = 0.01
_MOST_DECIMALS = 4


@dataclass(frozen=True)
class Coded:
    """One column of n real rows.

    Parameters
    ----------
    name
        Its name.
    values
        ``(n,)`` numbers, NaN where missing; for a column without numbers its codes.
    codes
        ``(n,)`` id of each row's value among the column's distinct values; missing is one of them.
    n_codes
        Number of distinct values.
    ordered
        Whether ``values`` are numbers, not mere names.
    continuous
        Whether values between two values make sense: numbers with more than a few distinct ones.
    atomic
        ``(n,)`` whether the row's value is missing or so frequent (a hundredth of the rows) that it means
        something of its own, such as 0 or a cap: never interpolated.
    decimals
        Digits after the point that all values have at most; None when there is no such limit.
    single
        Whether the column holds float32.
    """

    name: str
    values: Doubles
    codes: Ints
    n_codes: int
    ordered: bool
    continuous: bool
    atomic: np.ndarray[tuple[int], np.dtype[np.bool_]]
    decimals: int | None
    single: bool = False

    def settled(self, numbers: Doubles) -> Doubles:
        """Numbers between real ones as this column can hold them: rounded to its decimals."""
        rounded = numbers if self.decimals is None else np.round(numbers, self.decimals) + 0.0
        return rounded.astype(np.float32).astype(np.float64) if self.single else rounded

    @property
    def ranks(self) -> Doubles:
        """``(n,)`` mean rank of each row's value, between 0 and 1."""
        counts = np.bincount(self.codes, minlength=self.n_codes)
        middle = (np.cumsum(counts) - counts / 2) / len(self.codes)
        return np.asarray(middle[self.codes], dtype=np.float64)

    @property
    def is_flag(self) -> bool:
        """Whether it is 0 or 1 in every row, or always the same of the two."""
        return self.ordered and self.n_codes <= 2 and bool(np.isin(self.values, (0.0, 1.0)).all())


def code_column(series: nw.Series[Any], kind: ColumnKind) -> Coded:
    """Code one column; ``kind`` is what the schema says of it."""
    values = _numbers(series)
    if values is None:
        codes = _codes_of_names(series)
        return _coded(series.name, codes.astype(np.float64), codes, ordered=False)
    distinct, codes = np.unique(values, return_inverse=True)  # NaN sorts last and is one value
    ordered = kind != "categorical"
    coded = _coded(series.name, values, codes.astype(np.int64), ordered=ordered)
    may_interpolate = kind == "numeric" and (series.dtype.is_integer() or series.dtype.is_float())
    if not may_interpolate or len(distinct) <= _FEW_VALUES:
        return coded
    often = np.bincount(codes) > max(_ATOM_SHARE * len(values), 2)
    single = series.dtype == nw.Float32
    finite = distinct[np.isfinite(distinct)]
    return Coded(
        name=coded.name,
        values=values,
        codes=coded.codes,
        n_codes=coded.n_codes,
        ordered=True,
        continuous=True,
        atomic=often[codes] | ~np.isfinite(values),
        decimals=0 if series.dtype.is_integer() else _decimals(finite, single),
        single=single,
    )


def _coded(name: str, values: Doubles, codes: Ints, *, ordered: bool) -> Coded:
    n_codes = int(codes.max()) + 1 if len(codes) else 0
    return Coded(name, values, codes, n_codes, ordered, False, np.ones(len(codes), dtype=np.bool_), None)


def _numbers(series: nw.Series[Any]) -> Doubles | None:
    """The values as float64, NaN where missing and moments as microseconds; None for what is no number."""
    if series.dtype.is_numeric() or series.dtype == nw.Boolean:
        values = np.array(series.cast(nw.Float64).to_numpy(), dtype=np.float64)
    elif series.dtype in (nw.Date, nw.Datetime):
        moments = _to_arrow(series).cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        values = np.array(moments.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    else:
        return None
    values[np.isnan(values)] = np.nan  # one NaN, whatever its bits were
    return values + 0.0  # and one zero


def _to_arrow(series: nw.Series[Any]) -> pa.Array:
    column = series.to_arrow()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _codes_of_names(series: nw.Series[Any]) -> Ints:
    try:
        column = _to_arrow(series)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        # Mixed objects have no Arrow type.
        column = pa.array([None if value is None else repr(value) for value in series.to_list()])
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    indices = column.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return np.unique(indices, return_inverse=True)[1].astype(np.int64)


def _decimals(distinct: Doubles, single: bool) -> int | None:
    for decimals in range(_MOST_DECIMALS + 1):
        rounded = np.round(distinct, decimals)
        if np.array_equal(rounded.astype(np.float32) if single else rounded, distinct):
            return decimals
    return None
