"""Memory of an artifact in the process that serves it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import ExtraTreesClassifier

import potstill
from potstill import Budget, Recipe, UserError
from potstill.artifact import Affine, Card
from potstill.data import load_dataset
from potstill.evaluation import measure_memory, memory
from potstill.export import artifact_bytes, compose
from potstill.graph import GraphBuilder
from potstill.modalities import TabularEncoder
from potstill.students import GBDT
from potstill.types import Floats, Tensors


class Wide:
    """A student of one hidden layer with fixed weights, which can be as large as one likes."""

    def __init__(self, n_numeric: int, width: int) -> None:
        rng = np.random.default_rng(0)
        self.layer = rng.normal(size=(n_numeric, width)).astype(np.float32)
        self.n_parameters = self.layer.size

    def logits(self, tensors: Tensors) -> Floats:
        return np.asarray((tensors["numeric"] @ self.layer).sum(axis=1, keepdims=True), dtype=np.float32)

    def build(self, graph: GraphBuilder, tensors: dict[str, str]) -> str:
        missing = graph.node("IsNaN", tensors["numeric"])
        zero = graph.constant(np.float32(0).reshape(()))
        known = graph.node("Where", missing, zero, tensors["numeric"])
        hidden = graph.node("MatMul", known, graph.constant(self.layer))
        axes = graph.constant(np.array([1], dtype=np.int64))
        return graph.node("ReduceSum", hidden, axes, keepdims=1)


def artifact(width: int) -> bytes:
    data = load_dataset(
        pd.DataFrame({"a": [1.0, 2.0, 3.5, 4.0], "b": [0.5, 2.5, 1.5, 7.0], "y": [1.0, 2.5, 3.0, 9.5]}),
        target="y",
        task="regression",
    ).dataset
    encoder = TabularEncoder.fit(data)
    student = Wide(len(encoder.spec.numeric), width)
    card = Card(name="wide", task=data.task, schema=data.schema, calibration=Affine(1.0, 0.0))
    return artifact_bytes(compose(encoder, student, card.calibration, task=data.task), card, data.rows)


def test_a_large_artifact_takes_what_its_weights_take_at_least() -> None:
    large = artifact(width=3_000_000)
    assert len(large) > 20_000_000
    small_bytes, large_bytes = measure_memory(artifact(width=4)), measure_memory(large)
    assert 0 < small_bytes < 10_000_000
    assert small_bytes + 20_000_000 < large_bytes < 20 * len(large)


def test_where_the_system_does_not_say_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_STATM", tmp_path / "statm")
    with pytest.raises(UserError) as raised:
        measure_memory(b"")
    assert str(raised.value) == (
        f"Memory cannot be measured here: there is no {tmp_path / 'statm'}.\n\n"
        "hint: Leave the memory out of the budget, or run on Linux."
    )


def test_a_budget_that_no_student_keeps_is_said() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    result = potstill.distill(
        (X.iloc[:, :4], y),
        teachers=ExtraTreesClassifier(10, random_state=0),
        student=GBDT(rounds=5, leaves=4),
        budget=Budget(memory_mb=1e-6),
        recipe=Recipe(cache=False, synthetic=0, folds=2),
    )
    measured = {one.assessment.memory_bytes for one in result.candidates}
    assert None not in measured
    assert not any(one.fits_budget for one in result.candidates)
    (said,) = [note for note in result.notes if note.startswith("No student keeps the budget.")]
    told = re.fullmatch(
        r"No student keeps the budget\. The one that ships needs (\d+\.\d) MB of memory where 1e-06 are "
        r"allowed; loosen the budget, or name a smaller student\.",
        said,
    )
    assert told is not None
    assert float(told[1]) in {round((one or 0) / 1e6, 1) for one in measured}
