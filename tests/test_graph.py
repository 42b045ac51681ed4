"""Which operator sets a graph is written in."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from potstill.errors import UserError
from potstill.graph import OPSETS, GraphBuilder, Opset, chosen_opset


@pytest.mark.parametrize(("highest", "main"), [(None, 21), (99, 21), (21, 21), (20, 17), (17, 17)])
def test_the_newest_that_is_understood(highest: int | None, main: int) -> None:
    assert chosen_opset(highest).main == main


def test_too_old_an_operator_set_is_an_error() -> None:
    with pytest.raises(UserError) as raised:
        chosen_opset(16)
    assert str(raised.value) == (
        "The budget allows ONNX operator sets up to 16; no student can be written in less than 17.\n\n"
        "hint: Operator set 17 is read by ONNX Runtime 1.12 and later: allow that."
    )


@pytest.mark.parametrize("opset", OPSETS)
def test_a_model_says_what_it_is_written_in(opset: Opset) -> None:
    graph = GraphBuilder(opset=opset)
    value = graph.input("x", TensorProto.FLOAT, ["n"])
    graph.output(
        graph.node("Add", value, graph.constant(np.ones(1, np.float32))), "y", TensorProto.FLOAT, ["n"]
    )
    model = graph.model()
    assert {one.domain: one.version for one in model.opset_import} == {"": opset.main, "ai.onnx.ml": opset.ml}
    assert model.ir_version == opset.ir
