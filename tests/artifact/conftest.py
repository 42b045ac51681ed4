"""A small real artifact of each kind of task: every kind of column, a linear student with known weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.artifact import Affine, Card, Softmax
from potstill.export import artifact_bytes, compose
from potstill.graph import GraphBuilder
from potstill.modalities import TabularEncoder
from potstill.types import Column, Floats, Schema, Task, Tensors

SCHEMA = Schema(
    (
        Column("age", "numeric", integer=True, low=17, high=90),
        Column("job", "categorical", levels=("Sales", "Tech-support", "café", "3")),
        Column("member", "boolean", low=0, high=1),
        Column("since", "date", integer=False, low=7300.0, high=20000.5),
        Column("hours", "numeric", low=0.5, high=99.5),
    )
)


@dataclass(frozen=True)
class LinearStudent:
    """Logits linear in the numbers, missing ones 0, plus one vector a level."""

    weights: Floats
    levels: Floats

    @property
    def n_parameters(self) -> int:
        return self.weights.size + self.levels.size

    def logits(self, tensors: Tensors) -> Floats:
        numbers = np.clip(np.nan_to_num(tensors["numeric"], nan=0.0, posinf=100, neginf=-100), -100, 100)
        return numbers @ self.weights + self.levels[tensors["categorical"][:, 0]]

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        zero, low, high = (graph.constant(np.array(v, np.float32)) for v in (0, -100, 100))
        numbers = graph.node("Where", graph.node("IsNaN", tensors["numeric"]), zero, tensors["numeric"])
        numbers = graph.node("Clip", numbers, low, high)
        linear = graph.node("MatMul", numbers, graph.constant(self.weights))
        ids = graph.node("Reshape", tensors["categorical"], graph.constant(np.array([-1])))
        return graph.node("Add", linear, graph.node("Gather", graph.constant(self.levels), ids, axis=0))


def linear_student(n_outputs: int) -> LinearStudent:
    rng = np.random.default_rng(7)
    return LinearStudent(
        rng.normal(size=(8, n_outputs)).astype(np.float32) / 30,
        rng.normal(size=(6, n_outputs)).astype(np.float32),
    )


def small_rows() -> list[dict[str, Any]]:
    jobs = ["Sales", None, "café", "never seen", "Tech-support", ""]
    return [
        {
            "age": None if row % 7 == 3 else 20 + row,
            "job": jobs[row % 6],
            "member": [True, False, None][row % 3],
            "since": None if row % 5 == 4 else datetime(1999, 12, 1 + row, 13, 30, row),
            "hours": 0.5 * row + 0.1,
            "not used": object(),
        }
        for row in range(24)
    ]


def frame_of(rows: list[dict[str, Any]]) -> nw.DataFrame[Any]:
    frame = pd.DataFrame(rows).drop(columns="not used", errors="ignore")
    frame["member"] = frame["member"].astype("boolean")
    return nw.from_native(frame, eager_only=True)


def make_artifact(task: Task) -> bytes:
    encoder, student = TabularEncoder(SCHEMA), linear_student(task.n_outputs)
    calibration = Softmax(1.5) if task.is_classification else Affine(12.5, 100.0)
    card = Card(name="small", task=task, schema=SCHEMA, calibration=calibration)
    return artifact_bytes(compose(encoder, student, calibration, task=task), card, frame_of(small_rows()))


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return small_rows()


@pytest.fixture(scope="session")
def binary() -> bytes:
    return make_artifact(Task("binary", "income", ("<=50K", ">50K")))


@pytest.fixture(scope="session")
def multiclass() -> bytes:
    return make_artifact(Task("multiclass", "grade", (1, 2, 5)))


@pytest.fixture(scope="session")
def regression() -> bytes:
    return make_artifact(Task("regression", "price"))
