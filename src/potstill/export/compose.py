"""Encoder, student and calibration → one graph: raw columns in, calibrated probabilities or values out."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from potstill.artifact.calibration import Affine, Calibration, Softmax
from potstill.graph import GraphBuilder, chosen_opset
from potstill.types import Encoder, FittedStudent, Label, Task


def compose(
    encoder: Encoder,
    student: FittedStudent,
    calibration: Calibration,
    *,
    task: Task,
    opset: int | None = None,
) -> onnx.ModelProto:
    """The whole model as one graph.

    Its outputs are, for classification, ``probabilities`` ``(n, K)`` float32 and ``label`` ``(n,)`` in the
    labels' own type (string, int64 or bool); for regression ``value`` ``(n,)`` float32. Where a column has
    one of these names, the output's gets an underscore.

    Parameters
    ----------
    encoder
        Declares the raw inputs and encodes them.
    student
        Computes logits, or standardised values.
    calibration
        `Softmax` for classification, `Affine` for regression.
    task
        Its classes are the labels, in the order of the probabilities.
    opset
        See `potstill.types.Budget`.

    Raises
    ------
    UserError
        Nothing can be written in so old an operator set.
    """
    graph = GraphBuilder(opset=chosen_opset(opset))
    logits = student.build(graph, encoder.build(graph))
    match calibration:
        case Softmax(temperature=temperature):
            _add_probabilities(graph, logits, temperature, task)
        case Affine(scale=scale, shift=shift):
            _add_value(graph, logits, scale, shift)
    return graph.model()


def carried_tokenizer(model: onnx.ModelProto, encoder: Encoder) -> Any:
    """What the Card must carry: the encoder's tokenizer where the graph takes word pieces, else nothing."""
    pieces = any(each.type.tensor_type.elem_type == TensorProto.INT64 for each in model.graph.input)
    return encoder.tokenizer if pieces else msgspec.UNSET


def _add_probabilities(graph: GraphBuilder, logits: str, temperature: float, task: Task) -> None:
    if temperature != 1.0:
        logits = graph.node("Div", logits, graph.constant(np.array(temperature, np.float32)))
    probabilities = graph.node("Softmax", logits, axis=1)
    best = graph.node("ArgMax", probabilities, axis=1, keepdims=0)
    element_type, labels = _label_constant(task.classes)
    label = graph.node("Gather", graph.constant(labels), best, axis=0)
    graph.output(probabilities, graph.unused("probabilities"), TensorProto.FLOAT, ["n", len(task.classes)])
    graph.output(label, graph.unused("label"), element_type, ["n"])


def _add_value(graph: GraphBuilder, logits: str, scale: float, shift: float) -> None:
    value = graph.node("Reshape", logits, graph.constant(np.array([-1], dtype=np.int64)))
    if scale != 1.0:
        value = graph.node("Mul", value, graph.constant(np.array(scale, np.float32)))
    if shift != 0.0:
        value = graph.node("Add", value, graph.constant(np.array(shift, np.float32)))
    graph.output(value, graph.unused("value"), TensorProto.FLOAT, ["n"])


def _label_constant(
    classes: tuple[Label, ...],
) -> tuple[int, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    kinds = {type(label) for label in classes}
    if kinds == {bool}:
        return TensorProto.BOOL, np.array(classes, dtype=np.bool_)
    if kinds == {int}:
        return TensorProto.INT64, np.array(classes, dtype=np.int64)
    return TensorProto.STRING, np.array([str(label) for label in classes], dtype=object)
