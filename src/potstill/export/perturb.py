"""Rows as no data set has them: nothing given, infinities, the ends of float32, unseen levels, ties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, concat_feeds, rows_of
from potstill.types import Column, ColumnKind, Floats, Schema

_N_TIES = 48
_N_MIXED = 256
_MIXED_SHARE = 0.3
_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = -719_162.0, 2_932_896.0
_FLOAT32 = np.finfo(np.float32)


@runtime_checkable
class Splits(Protocol):
    """A fitted student that splits on numbers and can say where: ties there are tried one by one."""

    def thresholds(self) -> Mapping[int, Floats]:
        """Column of ``tensors["numeric"]`` to the float32 values it is compared with."""


@dataclass(frozen=True)
class Perturbed:
    """Made-up rows.

    Parameters
    ----------
    rows
        A narwhals frame over pyarrow, columns typed by their kind.
    what
        For each row what is odd about it, in words.
    """

    rows: nw.DataFrame[Any]
    what: tuple[str, ...]


def perturbed(real: Feeds, schema: Schema, *, ties: Mapping[str, Floats], seed: int = 0) -> Perturbed:
    """Real rows with one odd value each, rows odd all over, and random mixtures.

    Parameters
    ----------
    real
        Some real rows, at least one, as inputs of the graph.
    schema
        Says which values are odd for a column.
    ties
        Column name to numbers at which a decision may turn; each is tried with its two float32 neighbours.
    seed
        Of the choice of rows and mixtures.
    """
    rng = np.random.default_rng(seed)
    odd = {column.name: _odd_values(column, ties.get(column.name), rng) for column in schema.columns}
    parts, what = [], []
    for column in schema.columns:
        values = odd[column.name]
        part = _drawn(real, len(values), rng)
        part[column.name] = values
        parts.append(part)
        what += [f"column {column.name!r} = {value!r}" for value in values.tolist()]
    widest = max(len(values) for values in odd.values())
    everywhere = {name: values[np.arange(widest) % len(values)] for name, values in odd.items()}
    mixed = _drawn(real, _N_MIXED, rng)
    for name, values in odd.items():
        cells = rng.random(_N_MIXED) < _MIXED_SHARE
        mixed[name][cells] = rng.choice(values, int(cells.sum()))
    what += ["odd values in every column"] * widest + ["odd values in a third of the columns"] * _N_MIXED
    return Perturbed(_frame(concat_feeds([*parts, everywhere, mixed]), schema), tuple(what))


def _drawn(real: Feeds, n_rows: int, rng: np.random.Generator) -> Feeds:
    index = rng.integers(0, rows_of(real), n_rows)
    return {name: values[index] for name, values in real.items()}


def _odd_values(column: Column, ties: Floats | None, rng: np.random.Generator) -> NDArray[Any]:
    if column.kind == "categorical":
        return np.array(_odd_texts(column), dtype=object)
    if column.kind == "boolean":
        return np.array([np.nan, 0.0, 1.0], dtype=np.float32)
    low = 0.0 if column.low is None else column.low
    high = 1.0 if column.high is None else column.high
    if column.kind == "date":
        days = [np.nan, low, high, low - 400.5, high + 400.25, 0.0, -0.5, _FIRST_DAY, _LAST_DAY]
        return np.clip(np.array(days, dtype=np.float64), _FIRST_DAY, _LAST_DAY)
    with np.errstate(over="ignore"):
        ends = np.array([low, high, low - 1, high + 1, 2 * low - high, 2 * high - low]).astype(np.float32)
    extremes = [np.nan, np.inf, -np.inf, _FLOAT32.max, _FLOAT32.min, 0.0, -0.0, _FLOAT32.smallest_subnormal]
    chosen = np.zeros(0, dtype=np.float32) if ties is None else np.unique(ties[np.isfinite(ties)])
    if len(chosen) > _N_TIES:
        chosen = rng.choice(chosen, _N_TIES, replace=False)
    below, above = (np.nextafter(chosen, np.float32(end)) for end in (-np.inf, np.inf))
    return np.concatenate([np.array(extremes, dtype=np.float32), ends, chosen, below, above])


def _odd_texts(column: Column) -> list[str]:
    level = column.levels[0] if column.levels else "level"
    last = column.levels[-1] if column.levels else "level"
    spoilt = [f" {level}", f"{level} ", level.upper(), level.lower(), level + "\0", "\0", level * 50]
    return ["", level, last, *spoilt, " ", "nan", "None", "0", "é\N{GRINNING FACE}", "never seen in training"]


def _frame(inputs: Feeds, schema: Schema) -> nw.DataFrame[Any]:
    arrays = {column.name: _ARROW[column.kind](inputs[column.name]) for column in schema.columns}
    return nw.from_native(pa.table(arrays), eager_only=True)


def _arrow_numbers(values: Floats) -> pa.Array:
    # NaN in one half of the rows, null in the other: both mean missing
    return pa.array(values, pa.float32(), mask=np.isnan(values) & _every_other(values))


def _arrow_flags(values: Floats) -> pa.Array:
    return pa.array(values == 1, pa.bool_(), mask=np.isnan(values))


def _arrow_texts(values: NDArray[Any]) -> pa.Array:
    return pa.array(values.tolist(), pa.large_string(), mask=(values == "") & _every_other(values))


def _arrow_days(values: NDArray[Any]) -> pa.Array:
    gaps = np.isnan(values)
    microseconds = np.round(np.where(gaps, 0.0, values) * _DAY_US).astype(np.int64)
    return pa.array(microseconds, pa.timestamp("us"), mask=gaps)


def _every_other(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.tile([False, True], (len(values) + 1) // 2)[: len(values)]


_ARROW: dict[ColumnKind, Any] = {
    "numeric": _arrow_numbers,
    "boolean": _arrow_flags,
    "categorical": _arrow_texts,
    "date": _arrow_days,
}
