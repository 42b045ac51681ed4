"""The composed graph: its inputs, its outputs, and what plain ONNX Runtime reads from them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from potstill.artifact import Affine, Softmax
from potstill.artifact.session import open_session
from potstill.export import compose, graph_inputs
from potstill.modalities import TabularEncoder
from potstill.types import Column, Schema, Task


def session_of(model: onnx.ModelProto):
    return open_session(model.SerializeToString())


def outputs_of(model: onnx.ModelProto):
    return {output.name: (output.type, output.shape) for output in session_of(model).get_outputs()}


def test_raw_columns_in_probabilities_and_label_out(encoder, card, make_student, real_rows):
    student = make_student()
    model = compose(encoder, student, Softmax(2.0), task=card.task)
    session = session_of(model)
    assert {value.name: (value.type, value.shape) for value in session.get_inputs()} == {
        "value": ("tensor(float)", ["n"]),
        "label": ("tensor(string)", ["n"]),
        "flag": ("tensor(float)", ["n"]),
        "day": ("tensor(double)", ["n"]),
    }
    probabilities, label = session.run(None, graph_inputs(real_rows, card.schema))
    expected = Softmax(2.0).apply(student.logits(encoder.encode(real_rows)))
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)
    assert label.tolist() == [card.task.classes[best] for best in expected.argmax(axis=1)]
    assert len(set(label.tolist())) > 1


def test_outputs_step_aside_for_columns_of_the_same_name(encoder, card, make_student):
    model = compose(encoder, make_student(), Softmax(), task=card.task)
    assert list(outputs_of(model)) == ["probabilities", "label_"]
    regression = compose(encoder, make_student(1), Affine(), task=Task("regression", "y"))
    assert list(outputs_of(regression)) == ["value_"]


@pytest.mark.parametrize(
    ("classes", "kind"),
    [
        (("a", "b"), "tensor(string)"),
        ((0, 1), "tensor(int64)"),
        ((False, True), "tensor(bool)"),
        ((0, "a"), "tensor(string)"),
    ],
)
def test_labels_leave_the_graph_in_their_own_type(encoder, make_student, real_rows, classes, kind):
    model = compose(encoder, make_student(2), Softmax(), task=Task("binary", "y", classes))
    assert outputs_of(model)["label_"] == (kind, ["n"])
    probabilities, label = session_of(model).run(None, graph_inputs(real_rows, encoder.schema))
    expected = [classes[best] for best in probabilities.argmax(axis=1)]
    assert label.tolist() == (expected if len({type(c) for c in classes}) == 1 else list(map(str, expected)))


def test_values_come_in_the_targets_own_unit(encoder, make_student, real_rows):
    student = make_student(1)
    model = compose(encoder, student, Affine(250.0, 1e4), task=Task("regression", "y"))
    (value,) = session_of(model).run(None, graph_inputs(real_rows, encoder.schema))
    assert value.shape == (40,)
    expected = student.logits(encoder.encode(real_rows))[:, 0] * 250 + 1e4
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_a_calibration_that_does_nothing_adds_no_node(encoder, card, make_student):
    operators = [
        node.op_type for node in compose(encoder, make_student(), Softmax(1.0), task=card.task).graph.node
    ]
    warmer = [
        node.op_type for node in compose(encoder, make_student(), Softmax(3.0), task=card.task).graph.node
    ]
    assert len(warmer) == len(operators) + 1
    assert warmer.count("Div") == operators.count("Div") + 1


def test_the_same_parts_give_the_same_bytes(encoder, card, make_student):
    first, second = (
        compose(encoder, make_student(), Softmax(2.0), task=card.task).SerializeToString(deterministic=True)
        for _ in range(2)
    )
    assert first == second


def test_columns_with_odd_names(make_student):
    schema = Schema(
        (Column("ps/const_1", "numeric"), Column("größe (cm) ", "categorical", levels=("a", "b", "c")))
    )
    model = compose(
        TabularEncoder(schema), make_student(), Softmax(2.0), task=Task("multiclass", "y", (1, 2, 3))
    )
    names = [value.name for value in session_of(model).get_inputs()]
    assert names == ["ps/const_1", "größe (cm) "]
