"""Rounded weights: what is lost, what is saved, and that the graph holds the very same numbers."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from potstill.graph import GraphBuilder
from potstill.students import MLP, TabM
from potstill.students.stored_weights import Storage, rounded
from potstill.testing.student import check_onnx_parity
from potstill.testing.student_cases import student_cases
from potstill.types import Floats, Student


def a_weight(n_columns: int = 30) -> Floats:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(64, n_columns)) * np.geomspace(0.01, 100, n_columns)).astype(np.float32)


def test_rounding_loses_little() -> None:
    weight = a_weight()
    assert rounded(weight, "float32") is weight
    np.testing.assert_allclose(rounded(weight, "float16"), weight, rtol=2**-11)
    step = np.abs(weight).max(axis=0) / 127
    assert (np.abs(rounded(weight, "int8") - weight) <= 0.501 * step).all()


@pytest.mark.parametrize("storage", get_args(Storage))
def test_rounding_twice_is_rounding_once(storage: Storage) -> None:
    once = rounded(a_weight(), storage)
    np.testing.assert_allclose(rounded(once, storage), once, rtol=3e-7)


def test_a_column_of_zeros_and_small_weights_stay() -> None:
    weight = a_weight()
    weight[:, 3] = 0
    assert not rounded(weight, "int8")[:, 3].any()
    few = weight[:2, :10]
    assert rounded(few, "int8") is few


def test_numbers_beyond_float16_stay_finite() -> None:
    assert np.isfinite(rounded(np.full((16, 16), 1e30, dtype=np.float32), "float16")).all()


@pytest.mark.parametrize("part", [MLP, TabM])
def test_the_graph_computes_with_the_rounded_weights_and_shrinks(part: type[MLP] | type[TabM]) -> None:
    sizes = [graph_bytes(part(hidden=(64, 64), weights=storage)) for storage in get_args(Storage)]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.7 * sizes[1]


def graph_bytes(student: Student) -> int:
    """Bytes of the student's nodes, once they are seen to answer as it does."""
    case = student_cases()[0]
    fitted, _ = student.fit(
        case.train, None, spec=case.spec, task=case.task, objective=case.objective, seed=0, effort=1
    )
    check_onnx_parity(fitted, case)
    graph = GraphBuilder()
    names = {
        "numeric": graph.input("numeric", 1, ["n", len(case.spec.numeric)]),
        "categorical": graph.input("categorical", 7, ["n", len(case.spec.categorical)]),
    }
    graph.output(fitted.build(graph, names), "logits", 1, ["n", 2])
    return len(graph.model().SerializeToString())
