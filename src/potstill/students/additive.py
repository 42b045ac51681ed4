"""An additive model: one shape for each column, summed. The smallest student, and one that can be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import lightgbm
import msgspec
import numpy as np
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.modalities.category_codes import CategoryCodes
from potstill.students.boosting import Boosted, boost
from potstill.students.forest import read_forest
from potstill.types import (
    TABLE_KINDS,
    ColumnKind,
    Doubles,
    Examples,
    FeatureSpec,
    FittedStudent,
    Floats,
    Ints,
    Objective,
    Progress,
    Task,
    Tensors,
)


class Additive(msgspec.Struct, frozen=True):
    """A sum of one step function for each number and one table for each category.

    The steps are those of boosted trees that split on one column each, folded together afterwards.

    Parameters
    ----------
    rounds
        Boosting rounds at most. None: 800 for one score a row, fewer the more classes there are.
    steps
        Steps of a column at most.
    learning_rate, leaves, min_data_in_leaf, l2, feature_fraction
        As LightGBM names them (``leaves`` is ``num_leaves``, ``l2`` is ``lambda_l2``).
    size
        The dial: multiplies ``steps``.

    References
    ----------
    Lou, Caruana, Gehrke 2012, Intelligible Models for Classification and Regression.
    """

    name: ClassVar[str] = "additive"
    keeps_monotone: ClassVar[bool] = True
    larger: ClassVar[tuple[float, ...]] = ()
    kin: ClassVar[str] = "trees"
    climbs: ClassVar[int] = 1
    reads: ClassVar[frozenset[ColumnKind]] = TABLE_KINDS

    rounds: int | None = None
    steps: int = 32
    learning_rate: float = 0.1
    leaves: int = 4
    min_data_in_leaf: int = 20
    l2: float = 1.0
    feature_fraction: float = 0.5
    size: float = 1.0

    def resized(self, size: float) -> Additive:
        """The same family at another size."""
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Additive, ...]:
        """Other settings of the same size worth a trial, the most promising first."""
        return (
            msgspec.structs.replace(self, l2=10.0 * self.l2, min_data_in_leaf=3 * self.min_data_in_leaf),
            msgspec.structs.replace(self, leaves=2, learning_rate=2.0 * self.learning_rate),
        )

    def fit(
        self,
        train: Examples,
        valid: Examples | None,
        *,
        spec: FeatureSpec,
        task: Task,
        objective: Objective,
        seed: int,
        effort: int | None = None,
        time_limit_s: float | None = None,
        device: str = "cpu",  # noqa: ARG002
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit; see `potstill.types.Student.fit`. The effort is the number of rounds."""
        boosted = boost(
            train,
            valid,
            spec=spec,
            task=task,
            objective=objective,
            seed=seed,
            effort=effort,
            time_limit_s=time_limit_s,
            progress=progress,
            rounds=self._rounds,
            parameters=lambda _, codes: self._parameters(len(spec.numeric), codes),
        )
        return fold(boosted, spec), boosted.effort

    def _rounds(self, n_scores: int) -> int:
        return self.rounds or max(1, round(800 * n_scores**-0.7))

    def _parameters(self, n_numeric: int, codes: CategoryCodes) -> dict[str, Any]:
        columns = np.concatenate([np.arange(n_numeric), n_numeric + codes.column])
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.min_data_in_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.feature_fraction,
            "max_bin": max(3, math.ceil(self.steps * self.size) + 1),
            "interaction_constraints": [np.flatnonzero(columns == c).tolist() for c in np.unique(columns)],
        }


@dataclass(frozen=True)
class FittedAdditive:
    """Logits ``base + Σ weight[u] [numeric[column[u]] >= edge[u]] + Σ table[categorical[c] + offset[c]]``.

    The first edge of a column is −∞, which everything but NaN reaches: its weight is what it means that the
    number is there at all.

    Parameters
    ----------
    column, edge
        ``(U,)`` the numeric column of each step and where it is.
    weight
        ``(U, K)`` float32 what each step adds.
    table
        ``(Σ cardinalities, K)`` float32 what each level of each category adds, end to end.
    offset
        ``(C,)`` where a category's levels begin.
    base
        ``(K,)`` float32.
    """

    column: Ints
    edge: Floats
    weight: Floats
    table: Floats
    offset: Ints
    base: Floats

    @property
    def n_parameters(self) -> int:
        """Edges, what they add, and the tables."""
        return self.edge.size + self.weight.size + self.table.size

    def thresholds(self) -> Mapping[int, Floats]:
        """Edges by column; see `potstill.export.perturb.Splits`."""
        return {int(column): self.edge[self.column == column] for column in np.unique(self.column)}

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        n_rows = len(next(iter(tensors.values())))
        logits: Floats = np.repeat(self.base[None, :], n_rows, axis=0)
        if len(self.edge):
            reached = tensors["numeric"][:, self.column] >= self.edge
            logits += reached.astype(np.float32) @ self.weight
        if len(self.offset):
            logits += self.table[tensors["categorical"] + self.offset].sum(axis=1)
        return logits

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the nodes of `logits`, see `potstill.types.FittedStudent`."""
        logits = graph.constant(self.base)
        if len(self.edge):
            columns = graph.constant(self.column.astype(np.int32))
            picked = graph.node("Gather", tensors["numeric"], columns, axis=1)
            reached = graph.node("GreaterOrEqual", picked, graph.constant(self.edge))
            steps = graph.node("Cast", reached, to=TensorProto.FLOAT)
            logits = graph.node("Gemm", steps, graph.constant(self.weight), logits)
        if len(self.offset):
            index = graph.node("Add", tensors["categorical"], graph.constant(self.offset))
            found = graph.node("Gather", graph.constant(self.table), index, axis=0)
            axes = graph.constant(np.array([1], dtype=np.int64))
            logits = graph.node("Add", logits, graph.node("ReduceSum", found, axes, keepdims=0))
        return logits


def fold(boosted: Boosted, spec: FeatureSpec) -> FittedAdditive:
    """Fold trees that split on one column each into steps and tables.

    All is read off the trees' own answers: those to rows that differ from one row in a single column are that
    column's shape.
    """
    numeric = _Sheet(boosted, np.zeros((1, len(spec.numeric)), dtype=np.float32), spec)
    forest = read_forest(boosted.booster.model_to_string(), boosted.features.stand_in)
    columns, edges, weights = [], [], []
    base = numeric.start.copy()
    for column, direction in enumerate(spec.monotone or (0,) * len(spec.numeric)):
        thresholds = np.unique(forest.threshold[(forest.feature == column) & ~forest.is_leaf])
        ends = np.nextafter(thresholds, np.float32(np.inf))
        shape = numeric.shape_of_number(column, np.concatenate([[np.nan, -np.inf], ends]))
        steps = np.diff(shape, axis=0)
        if direction:
            # Rounding must not bend what the trees keep.
            steps[1:, -1] = direction * np.maximum(direction * steps[1:, -1], 0)
        base += shape[0]
        columns.append(np.full(len(steps), column, dtype=np.int64))
        edges.append(np.concatenate([[-np.inf], ends]).astype(np.float32))
        weights.append(steps)
    tables = [numeric.shape_of_category(column) for column in range(len(spec.cardinalities))]
    return FittedAdditive(
        column=np.concatenate([np.zeros(0, dtype=np.int64), *columns]),
        edge=np.concatenate([np.zeros(0, dtype=np.float32), *edges]),
        weight=np.concatenate([np.zeros((0, len(base))), *weights]).astype(np.float32),
        table=np.concatenate([np.zeros((0, len(base))), *tables]).astype(np.float32),
        offset=np.cumsum([0, *spec.cardinalities], dtype=np.int64)[:-1],
        base=base.astype(np.float32),
    )


class _Sheet:
    """Answers of the trees around one row: all numbers as given, every category unseen."""

    def __init__(self, boosted: Boosted, numbers: Floats, spec: FeatureSpec) -> None:
        self._boosted, self._numbers, self._spec = boosted, numbers, spec
        self._levels = np.zeros((1, len(spec.cardinalities)), dtype=np.int64)
        self._centre = self._answers(numbers, self._levels)[0]
        self.start: Doubles = boosted.base + self._centre

    def shape_of_number(self, column: int, values: Floats | Doubles) -> Doubles:
        """``(len(values), K)`` what the column adds at each value, less what it adds in the one row."""
        numbers = np.repeat(self._numbers, len(values), axis=0)
        numbers[:, column] = values
        shape: Doubles = self._answers(numbers, np.repeat(self._levels, len(values), axis=0)) - self._centre
        return shape

    def shape_of_category(self, column: int) -> Doubles:
        """``(cardinality, K)`` the same for each level of a category."""
        n_levels = self._spec.cardinalities[column]
        levels = np.repeat(self._levels, n_levels, axis=0)
        levels[:, column] = np.arange(n_levels)
        shape: Doubles = self._answers(np.repeat(self._numbers, n_levels, axis=0), levels) - self._centre
        return shape

    def _answers(self, numbers: Floats, levels: Ints) -> Doubles:
        features = self._boosted.features.encode({"numeric": numbers, "categorical": levels})
        booster: lightgbm.Booster = self._boosted.booster
        raw = booster.predict(features, raw_score=True).reshape(len(features), -1)
        answers = np.zeros((len(features), len(self._boosted.base)))
        answers[:, -raw.shape[1] :] = raw
        return answers
