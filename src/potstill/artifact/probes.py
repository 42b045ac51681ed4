"""Probe rows: a few raw rows and the model's answers to them, carried in the file; `verify` replays them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from potstill.artifact.columns import Feeds, concat_feeds, lone_picture_column, rows_of
from potstill.artifact.pictures import corners, pnm_bytes
from potstill.artifact.values import days_to_iso
from potstill.types import TABLE_KINDS, Column, ColumnKind, Floats, Ints, Schema

N_REAL, N_REAL_LARGE = 12, 4
"""Real rows among the probes; the second holds for pictures and texts, which take more bytes."""

MAX_LETTERS = 300
UNSEEN = "\N{REPLACEMENT CHARACTER} never seen in training"


class Probes(msgspec.Struct, frozen=True):
    """Raw rows as JSON values and what the model answers to them.

    Parameters
    ----------
    rows
        Column name to its values: numbers, booleans, text, ISO 8601 dates, null where missing; pictures
        as the base64 of a file.
    outputs
        ``(n, K)`` probabilities, or ``(n, 1)`` values.
    rtol, atol
        An answer a holds against the expected e when |a - e| ≤ atol + rtol |e|: processors round differently.
    """

    rows: dict[str, list[Any]]
    outputs: list[list[float]]
    rtol: float = 1e-4
    atol: float = 1e-4


def probe_candidates(schema: Schema, n_rows: int) -> Ints:
    """Which of so many real rows `probe_feeds` is to be given: of pictures only those that it will pick."""
    return np.arange(n_rows) if lone_picture_column(schema) is None else _spread(n_rows, N_REAL_LARGE)


def probe_feeds(real: Feeds, schema: Schema) -> Feeds:
    """A dozen of the real rows, then one each: all missing, unseen categories, lowest and highest values."""
    usable = np.ones(rows_of(real), dtype=bool)
    for values in real.values():
        if values.dtype.kind == "f":
            usable &= ~np.isinf(values)  # JSON has no infinity
    index = np.flatnonzero(usable)
    n_real = N_REAL if all(column.kind in TABLE_KINDS for column in schema.columns) else N_REAL_LARGE
    index = index[_spread(len(index), n_real)]
    picked = {column.name: _small(real[column.name][index], column) for column in schema.columns}
    return concat_feeds([picked, *(_row(schema, which) for which in ("missing", "unseen", "low", "high"))])


def _spread(n_rows: int, most: int) -> Ints:
    """Positions of ``most`` rows, evenly spread over all."""
    return np.unique(np.linspace(0, n_rows - 1, min(most, n_rows)).astype(np.int64))


def _small(values: Any, column: Column) -> Any:
    """What a file can carry of some values: texts are cut, and so are pictures."""
    if column.kind == "text":
        return np.array([text[:MAX_LETTERS] for text in values], dtype=object)
    if column.kind == "image":
        return corners(values, column.shape)
    return values


def probe_rows(probes: Feeds, schema: Schema) -> dict[str, list[Any]]:
    """Feeds back to raw rows that JSON can carry; `feeds` of the result gives the same feeds again."""
    return {column.name: _JSON_VALUES[column.kind](probes[column.name]) for column in schema.columns}


def as_array(outputs: Sequence[Sequence[float]]) -> Floats:
    """Stored outputs as ``(n, K)`` float32."""
    return np.array(outputs, dtype=np.float32)


def _row(schema: Schema, which: str) -> Feeds:
    return {column.name: _value(column, which) for column in schema.columns}


def _made_up_text(column: Column, which: str) -> Any:  # noqa: ARG001
    text = {"missing": "", "unseen": UNSEEN, "low": "a", "high": "Well, is it? " * 20}[which]
    return np.array([text], dtype=object)


def _made_up_picture(column: Column, which: str) -> Any:
    height, width, channels = column.shape
    if which == "unseen":  # of another size
        slope = np.linspace(0, 255, (height + 3) * (width + 1) * channels).astype(np.uint8)
        return slope.reshape(1, height + 3, width + 1, channels)
    shade = {"missing": 128, "low": 0, "high": 255}[which]
    return np.full((1, height, width, channels), shade, dtype=np.uint8)


_MADE_UP: dict[ColumnKind, Callable[[Column, str], Any]] = {"text": _made_up_text, "image": _made_up_picture}


def _value(column: Column, which: str) -> Any:
    if column.kind in _MADE_UP:
        return _MADE_UP[column.kind](column, which)
    if column.kind == "categorical":
        levels = column.levels or (UNSEEN,)
        text = {"missing": "", "unseen": UNSEEN, "low": levels[0], "high": levels[-1]}[which]
        return np.array([text], dtype=object)
    low = 0.0 if column.low is None else column.low
    high = low if column.high is None else column.high
    number = {"missing": float("nan"), "unseen": (low + high) / 2, "low": low, "high": high}[which]
    if column.kind == "boolean" and which == "unseen":
        number = low
    if column.kind == "date":
        return np.array([number if math.isnan(number) else round(number)], dtype=np.float64)
    return np.array([number], dtype=np.float32)


def _numbers_to_json(values: Floats) -> list[Any]:
    return [None if math.isnan(number) else number for number in values.tolist()]


def _flags_to_json(values: Floats) -> list[Any]:
    return [None if math.isnan(flag) else bool(flag) for flag in values.tolist()]


def _texts_to_json(values: Any) -> list[Any]:
    return [text or None for text in values.tolist()]


def _pictures_to_json(values: Any) -> list[Any]:
    return [base64.b64encode(pnm_bytes(picture)).decode() for picture in values]


def _days_to_json(values: Any) -> list[Any]:
    return [days_to_iso(day) for day in values.tolist()]


_JSON_VALUES: dict[ColumnKind, Any] = {
    "numeric": _numbers_to_json,
    "boolean": _flags_to_json,
    "categorical": _texts_to_json,
    "date": _days_to_json,
    "text": _texts_to_json,
    "image": _pictures_to_json,
}
