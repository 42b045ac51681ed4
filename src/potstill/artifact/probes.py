"""Probe rows: a few raw rows and the model's answers to them, carried in the file; `verify` replays them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from potstill.artifact.columns import Feeds, concat_feeds, rows_of
from potstill.artifact.values import days_to_iso
from potstill.types import Column, ColumnKind, Floats, Schema

N_REAL = 12
UNSEEN = "\N{REPLACEMENT CHARACTER} never seen in training"


class Probes(msgspec.Struct, frozen=True):
    """Raw rows as JSON values and what the model answers to them.

    Parameters
    ----------
    rows
        Column name to its values: numbers, booleans, text, ISO 8601 dates; null where missing.
    outputs
        ``(n, K)`` probabilities, or ``(n, 1)`` values.
    rtol, atol
        An answer a holds against the expected e when |a - e| ≤ atol + rtol |e|: processors round differently.
    """

    rows: dict[str, list[Any]]
    outputs: list[list[float]]
    rtol: float = 1e-4
    atol: float = 1e-4


def probe_feeds(real: Feeds, schema: Schema) -> Feeds:
    """A dozen of the real rows, then one each: all missing, unseen categories, lowest and highest values."""
    usable = np.ones(rows_of(real), dtype=bool)
    for values in real.values():
        if values.dtype.kind == "f":
            usable &= ~np.isinf(values)  # JSON has no infinity
    index = np.flatnonzero(usable)
    index = index[np.unique(np.linspace(0, len(index) - 1, min(N_REAL, len(index))).astype(np.int64))]
    picked = {name: values[index] for name, values in real.items()}
    return concat_feeds([picked, *(_row(schema, which) for which in ("missing", "unseen", "low", "high"))])


def probe_rows(probes: Feeds, schema: Schema) -> dict[str, list[Any]]:
    """Feeds back to raw rows that JSON can carry; `feeds` of the result gives the same feeds again."""
    return {column.name: _JSON_VALUES[column.kind](probes[column.name]) for column in schema.columns}


def as_array(outputs: Sequence[Sequence[float]]) -> Floats:
    """Stored outputs as ``(n, K)`` float32."""
    return np.array(outputs, dtype=np.float32)


def _row(schema: Schema, which: str) -> Feeds:
    return {column.name: _value(column, which) for column in schema.columns}


def _value(column: Column, which: str) -> Any:
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


def _days_to_json(values: Any) -> list[Any]:
    return [days_to_iso(day) for day in values.tolist()]


_JSON_VALUES: dict[ColumnKind, Any] = {
    "numeric": _numbers_to_json,
    "boolean": _flags_to_json,
    "categorical": _texts_to_json,
    "date": _days_to_json,
}
