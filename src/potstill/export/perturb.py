"""Rows as no data set has them: nothing given, infinities, the ends of float32, unseen levels, ties."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import narwhals as nw
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.artifact.columns import Feeds, concat_feeds, rows_of
from potstill.artifact.pictures import corners, pictures_of, pnm_bytes
from potstill.types import TABLE_KINDS, Column, ColumnKind, Floats, Schema

_N_TIES = 48
_N_MIXED, _N_MIXED_LARGE = 256, 32
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
        Some real rows, at least one, as inputs of the graph. Of large pictures a corner is taken.
    schema
        Says which values are odd for a column.
    ties
        Column name to numbers at which a decision may turn; each is tried with its two float32 neighbours.
    seed
        Of the choice of rows and mixtures.
    """
    rng = np.random.default_rng(seed)
    pictures = [column for column in schema.columns if column.shape]
    real = {**real, **{column.name: corners(real[column.name], column.shape) for column in pictures}}
    odd = {column.name: _odd_values(column, ties.get(column.name), rng) for column in schema.columns}
    parts, what = [], []
    for column in schema.columns:
        values = odd[column.name]
        part = _drawn(real, len(values), rng)
        part[column.name] = values
        parts.append(part)
        what += [f"column {column.name!r} = {_word(value)}" for value in values]
    widest = max(len(values) for values in odd.values())
    everywhere = {name: values[np.arange(widest) % len(values)] for name, values in odd.items()}
    n_mixed = _N_MIXED if all(column.kind in TABLE_KINDS for column in schema.columns) else _N_MIXED_LARGE
    mixed = _drawn(real, n_mixed, rng)
    for name, values in odd.items():
        cells = rng.random(n_mixed) < _MIXED_SHARE
        mixed[name] = _replaced(mixed[name], cells, values[rng.integers(0, len(values), int(cells.sum()))])
    what += ["odd values in every column"] * widest + ["odd values in a third of the columns"] * n_mixed
    return Perturbed(_frame(concat_feeds([*parts, everywhere, mixed]), schema), tuple(what))


def _word(value: Any) -> str:
    """An odd value in a few letters."""
    if isinstance(value, np.ndarray):
        return f"a picture of {value.shape[0]} x {value.shape[1]}"
    return reprlib.repr(value) if isinstance(value, str) else repr(value.item())


def _replaced(values: NDArray[Any], cells: NDArray[np.bool_], others: NDArray[Any]) -> NDArray[Any]:
    """``values`` with ``others`` at ``cells``; pictures of other sizes make it an array of objects."""
    if values.dtype == others.dtype and values.shape[1:] == others.shape[1:]:
        values[cells] = others
        return values
    mixed = np.empty(len(values), dtype=object)
    chosen = iter(others)
    for row, value in enumerate(values):
        mixed[row] = next(chosen) if cells[row] else value
    return mixed


def _drawn(real: Feeds, n_rows: int, rng: np.random.Generator) -> Feeds:
    index = rng.integers(0, rows_of(real), n_rows)
    return {name: values[index] for name, values in real.items()}


def _odd_values(column: Column, ties: Floats | None, rng: np.random.Generator) -> NDArray[Any]:
    if column.kind in _ODD:
        return _ODD[column.kind](column)
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


def _odd_flags(column: Column) -> Floats:  # noqa: ARG001
    return np.array([np.nan, 0.0, 1.0], dtype=np.float32)


def _odd_levels(column: Column) -> NDArray[Any]:
    return np.array(_odd_texts(column), dtype=object)


def _odd_sentences(column: Column) -> NDArray[Any]:  # noqa: ARG001
    odd = [
        "",
        " ",
        "\n\t \r\n",
        "a",
        "?",
        "A",
        "ÀÉÎ straße İstanbul ΣΟΦΟΣ",
        "\N{GRINNING FACE} fine \N{GRINNING FACE}",
    ]
    odd += [
        "word " * 3_000,
        "x" * 20_000,
        "non\u00a0breaking and\u2003wide spaces",
        "自然言語 処理",
        "nul\0in it",
    ]
    odd += [
        'don\'t — "quoted", (really?) yes!!!',
        "<b>tag</b> http://a.b/c?d=e#f",
        "3.14 1,000 007 -5",
        "\ufeffmark",
    ]
    return np.array(odd, dtype=object)


def _odd_pictures(column: Column) -> NDArray[Any]:
    height, width, channels = column.shape
    rng = np.random.default_rng(0)
    sizes = [
        (height, width),
        (1, 1),
        (height + 3, width + 5),
        (2 * height, width),
        (3 * height, 2 * width),
        (2, 90),
    ]
    noise = [rng.integers(0, 256, (*size, channels)).astype(np.uint8) for size in sizes]
    plain = [np.full((height, width, channels), shade, dtype=np.uint8) for shade in (0, 255)]
    return pictures_of([*noise, *plain], channels)


_ODD: dict[ColumnKind, Callable[[Column], NDArray[Any]]] = {
    "boolean": _odd_flags,
    "categorical": _odd_levels,
    "text": _odd_sentences,
    "image": _odd_pictures,
}


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


def _arrow_sentences(values: NDArray[Any]) -> pa.Array:
    return pa.array(values.tolist(), pa.large_string())


def _arrow_pictures(values: NDArray[Any]) -> pa.Array:
    return pa.array([pnm_bytes(picture) for picture in values], pa.large_binary())


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
    "text": _arrow_sentences,
    "image": _arrow_pictures,
}
