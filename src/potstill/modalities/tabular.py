"""Tables: raw columns to a matrix of numbers and a matrix of level ids, in numpy and as ONNX nodes.

The two ways must agree bit for bit, so whatever is computed is computed in float64 by the same elementary
steps on both sides, and rounded to float32 last. A node costs a microsecond a row, so columns are first
joined and then worked on together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from onnx import TensorProto

from potstill.data.columns import arrow_column, missing, to_booleans, to_days, to_numbers, to_texts
from potstill.graph import GraphBuilder
from potstill.types import Column, Dataset, Doubles, FeatureSpec, Floats, Ints, Schema, Tensors

DAYS_PER_YEAR = 365.2425
_UNSEEN, _MISSING, _FIRST_LEVEL = 0, 1, 2
_THURSDAY = 3
"""1970-01-01, counted from Monday."""


@dataclass(frozen=True)
class TabularEncoder:
    """The Encoder of tables. It holds nothing but the schema, in which the levels already are.

    Numbers and booleans are taken as they are. A date becomes its place between the earliest and the latest
    date seen (about 0 to 1), its day of the week (0 Monday … 6), sine and cosine of the time of year and,
    where the column has times, the time of day (0 to 1). A category becomes the id of its level.
    """

    schema: Schema

    @classmethod
    def fit(cls, dataset: Dataset) -> TabularEncoder:
        """The encoder of ``dataset``'s schema."""
        return cls(dataset.schema)

    @property
    def spec(self) -> FeatureSpec:
        dates = self._dates
        names = [column.name for column in self._plain]
        for feature in ("place", "weekday", "year_sin", "year_cos"):
            names += [f"{column.name}:{feature}" for column in dates]
        names += [f"{column.name}:day_time" for column in dates if not column.integer]
        return FeatureSpec(
            numeric=tuple(names),
            categorical=tuple(column.name for column in self._categories),
            cardinalities=tuple(_FIRST_LEVEL + len(column.levels) for column in self._categories),
            monotone=self._monotone(len(names)),
        )

    @property
    def tokenizer(self) -> None:
        """There are no texts."""

    def encode(self, rows: nw.DataFrame[Any]) -> Tensors:
        """``numeric`` ``(n, F)`` float32 and ``categorical`` ``(n, C)`` int64, in the order of `spec`.

        Raises
        ------
        UserError
            A column is not there, or holds what cannot be read as its kind.
        """
        spec = self.spec
        numeric = np.empty((len(rows), len(spec.numeric)), dtype=np.float32)
        categorical = np.empty((len(rows), len(spec.categorical)), dtype=np.int64)
        # A float64 beyond the range of float32 becomes an infinity, which is what is wanted.
        with np.errstate(over="ignore", invalid="ignore"):
            for position, column in enumerate(self._plain):
                numeric[:, position] = raw_column(rows, column)
            if self._dates:
                days = np.stack([raw_column(rows, column) for column in self._dates]).astype(np.float64)
                numeric[:, len(self._plain) :] = self._date_features(days).T
        for position, column in enumerate(self._categories):
            categorical[:, position] = _level_ids(rows, column)
        return {"numeric": numeric, "categorical": categorical}

    def build(self, graph: GraphBuilder) -> Mapping[str, str]:
        """Add one rank-1 input a column, in the schema's order, and the encoding nodes.

        FLOAT for numbers and booleans (NaN missing), DOUBLE for dates (days since 1970-01-01, NaN missing),
        STRING for categories (``""`` missing). A tensor without columns is not in the result.
        """
        types = {"categorical": TensorProto.STRING, "date": TensorProto.DOUBLE}
        for column in self.schema.columns:
            graph.input(column.name, types.get(column.kind, TensorProto.FLOAT), ["n"])
        tensors = {}
        stacked = []
        if self._plain:
            stacked.append(_stack(graph, [column.name for column in self._plain]))
        if self._dates:
            stacked.append(self._build_dates(graph))
        if stacked:
            tensors["numeric"] = _columns(graph, _join(graph, stacked), len(self.spec.numeric))
        if self._categories:
            ids = [_build_levels(graph, column) for column in self._categories]
            tensors["categorical"] = _columns(graph, _stack(graph, ids), len(ids))
        return tensors

    def _monotone(self, n_numeric: int) -> tuple[int, ...]:
        """A date is several columns, none of which rises with it, so dates have no direction."""
        wanted = [column.monotone for column in self._plain]
        return (*wanted, *[0] * (n_numeric - len(wanted))) if any(wanted) else ()

    @property
    def _plain(self) -> list[Column]:
        return [column for column in self.schema.columns if column.kind in ("numeric", "boolean")]

    @property
    def _dates(self) -> list[Column]:
        return [column for column in self.schema.columns if column.kind == "date"]

    @property
    def _categories(self) -> list[Column]:
        return [column for column in self.schema.columns if column.kind == "categorical"]

    def _date_features(self, days: Doubles) -> Doubles:
        """``(D, n)`` days to ``(F_dates, n)`` features, feature after feature. `_build_dates` is its twin."""
        low, span = self._date_ranges()
        whole = np.floor(days)
        from_monday = whole + float(_THURSDAY)
        angle = days * (2 * np.pi / DAYS_PER_YEAR)
        parts = [
            (days - low) / span,
            from_monday - np.floor(from_monday / 7.0) * 7.0,
            np.sin(angle),
            np.sin(angle + np.pi / 2),
        ]
        timed = self._timed_dates()
        if len(timed):
            parts.append((days - whole)[timed])
        return np.concatenate(parts)

    def _build_dates(self, graph: GraphBuilder) -> str:
        """Add the nodes of `_date_features`; the result is float32."""
        low, span = self._date_ranges()
        days = _stack(graph, [column.name for column in self._dates])
        whole = graph.node("Floor", days)
        from_monday = graph.node("Add", whole, graph.constant(np.array(float(_THURSDAY))))
        seven = graph.constant(np.array(7.0))
        weeks = graph.node("Mul", graph.node("Floor", graph.node("Div", from_monday, seven)), seven)
        angle = graph.node("Mul", days, graph.constant(np.array(2 * np.pi / DAYS_PER_YEAR)))
        quarter_on = graph.node("Add", angle, graph.constant(np.array(np.pi / 2)))
        parts = [
            graph.node("Div", graph.node("Sub", days, graph.constant(low)), graph.constant(span)),
            graph.node("Sub", from_monday, weeks),
            graph.node("Sin", graph.node("Concat", angle, quarter_on, axis=0)),
        ]
        timed = self._timed_dates()
        if len(timed):
            day_time = graph.node("Sub", days, whole)
            every = len(timed) == len(self._dates)
            parts.append(day_time if every else graph.node("Gather", day_time, graph.constant(timed), axis=0))
        return graph.node("Cast", graph.node("Concat", *parts, axis=0), to=TensorProto.FLOAT)

    def _date_ranges(self) -> tuple[Doubles, Doubles]:
        """Earliest day and width of the range of each date column, ``(D, 1)``; a width of 0 counts as 1."""
        low = np.array([[column.low or 0.0] for column in self._dates])
        high = np.array([[column.high or 0.0] for column in self._dates])
        return low, np.where(high > low, high - low, 1.0)

    def _timed_dates(self) -> Ints:
        """Positions, among the date columns, of those with a time of day."""
        return np.array([at for at, column in enumerate(self._dates) if not column.integer], dtype=np.int64)


def raw_column(rows: nw.DataFrame[Any], column: Column) -> Floats | Doubles:
    """``(n,)`` what a graph takes for a numeric, boolean (float32) or date (float64) column; NaN missing."""
    values = arrow_column(rows, column.name)
    if column.kind == "date":
        return to_days(values, column.name)
    numbers = (to_booleans if column.kind == "boolean" else to_numbers)(values, column.name)
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)


def _level_ids(rows: nw.DataFrame[Any], column: Column) -> Ints:
    """``(n,)`` 0 unseen or rare, 1 missing, 2… the levels in the schema's order."""
    texts = to_texts(arrow_column(rows, column.name), column.name)
    found = pc.index_in(texts, value_set=pa.array(column.levels, pa.large_string()))
    ids = pc.add(found.cast(pa.int64()), _FIRST_LEVEL).fill_null(_UNSEEN).to_numpy(zero_copy_only=False)
    return np.where(missing(texts), _MISSING, ids).astype(np.int64)


def _build_levels(graph: GraphBuilder, column: Column) -> str:
    return graph.node(
        "LabelEncoder",
        column.name,
        domain="ai.onnx.ml",
        keys_strings=["", *column.levels],
        values_int64s=list(range(_MISSING, _FIRST_LEVEL + len(column.levels))),
        default_int64=_UNSEEN,
    )


def _stack(graph: GraphBuilder, values: list[str]) -> str:
    """Rank-1 values of ``n`` each, one below the other: ``(len(values), n)``."""
    shape = graph.constant(np.array([len(values), -1], dtype=np.int64))
    return graph.node("Reshape", _join(graph, values), shape)


def _join(graph: GraphBuilder, values: list[str]) -> str:
    return values[0] if len(values) == 1 else graph.node("Concat", *values, axis=0)


def _columns(graph: GraphBuilder, stacked: str, width: int) -> str:
    """``(width, n)`` to ``(n, width)``."""
    if width == 1:
        return graph.node("Reshape", stacked, graph.constant(np.array([-1, 1], dtype=np.int64)))
    return graph.node("Transpose", stacked, perm=[1, 0])
