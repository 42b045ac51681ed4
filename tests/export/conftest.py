"""Real rows with every kind of column, and a small student whose two halves can be made to differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest

from potstill.artifact import Card, Softmax
from potstill.graph import GraphBuilder
from potstill.modalities import TabularEncoder
from potstill.types import Column, Floats, Schema, Task, Tensors

SCHEMA = Schema(
    (
        Column("value", "numeric", low=-5, high=25),
        Column("label", "categorical", levels=("a", "é", "c")),
        Column("flag", "boolean", low=0, high=1),
        Column("day", "date", low=10000.0, high=10600.25),
    )
)
TASK = Task("multiclass", "y", ("no", "perhaps", "yes"))


@dataclass(frozen=True)
class StepStudent:
    """A step at ``edge`` in the first number, plus one vector a level: what a tree does, in three nodes.

    ``drift`` is added to the logits in the graph only: the fault that parity has to find.
    """

    weights: Floats
    levels: Floats
    edge: float = 2.5
    graph_edge: float = 2.5
    drift: float = 0.0

    @property
    def n_parameters(self) -> int:
        return self.weights.size + self.levels.size

    def thresholds(self) -> Mapping[int, Floats]:
        return {0: np.array([self.edge], dtype=np.float32)}

    def logits(self, tensors: Tensors) -> Floats:
        above = (tensors["numeric"][:, :1] > np.float32(self.edge)).astype(np.float32)
        return above * self.weights + self.levels[tensors["categorical"][:, 0]]

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        first = graph.node("Gather", tensors["numeric"], graph.constant(np.array([0])), axis=1)
        above = graph.node("Greater", first, graph.constant(np.array(self.graph_edge, np.float32)))
        steps = graph.node("Mul", graph.node("Cast", above, to=1), graph.constant(self.weights))
        ids = graph.node("Reshape", tensors["categorical"], graph.constant(np.array([-1])))
        vectors = graph.node(
            "Gather",
            graph.constant(
                self.levels + np.float32(self.drift) * np.eye(*self.levels.shape, dtype=np.float32)
            ),
            ids,
            axis=0,
        )
        return graph.node("Add", steps, vectors)


def step_student(n_outputs: int = 3, **changes: float) -> StepStudent:
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(1, n_outputs)).astype(np.float32)
    return StepStudent(weights, rng.normal(size=(5, n_outputs)).astype(np.float32), **changes)


@pytest.fixture
def make_student():
    return step_student


@pytest.fixture
def encoder() -> TabularEncoder:
    return TabularEncoder(SCHEMA)


@pytest.fixture
def card() -> Card:
    return Card(name="steps", task=TASK, schema=SCHEMA, calibration=Softmax(2.0))


@pytest.fixture
def real_rows() -> nw.DataFrame[Any]:
    rng = np.random.default_rng(0)
    n_rows = 40
    frame = pl.DataFrame(
        {
            "value": [None if row % 9 == 0 else float(row) / 2 - 3 for row in range(n_rows)],
            "label": rng.choice(np.array(["a", "é", "c", "rare", None], dtype=object), n_rows).tolist(),
            "flag": [None if row % 8 == 1 else bool(row % 2) for row in range(n_rows)],
            "day": [
                None if row % 7 == 2 else datetime(1998, 1, 1 + row % 28, row % 24) for row in range(n_rows)
            ],
        }
    )
    return nw.from_native(frame, eager_only=True)
