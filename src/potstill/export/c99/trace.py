"""The graph of one row: every value's shape and type, and which values are constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from potstill.types import Schema


@dataclass(frozen=True)
class Trace:
    """What one row's way through the graph needs.

    Parameters
    ----------
    nodes
        Those that lead to the first output and depend on the row, in order.
    values
        Every value's array for a row with nothing in it: its shape and type, and for constants its content.
    constants
        Names of the values that are the same for every row.
    whole
        Weights that the artifact stores as int8: its int8 numbers and their ``(…, 1, columns)`` scales.
    output
        Name of the first output.
    """

    nodes: tuple[onnx.NodeProto, ...]
    values: dict[str, NDArray[Any]]
    constants: frozenset[str]
    whole: dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]]
    output: str


def trace(data: bytes, schema: Schema) -> Trace:
    """Follow a row in which everything is missing through the artifact's graph."""
    model = onnx.load_from_string(data)
    output = model.graph.output[0].name
    nodes = _leading_to(output, list(model.graph.node))
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    row = {column.name: _missing(column.kind) for column in schema.columns}
    del model.graph.output[:]
    for node in nodes:
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in node.output)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    asked = {name: row[name] for name in (each.name for each in session.get_inputs())}
    values = {**constants, **row, **dict(zip(names, session.run(names, asked), strict=True))}
    same = set(constants)
    for node in nodes:
        if all(name in same for name in node.input if name):
            same.update(node.output)
    kept = tuple(node for node in nodes if not set(node.output) <= same)
    return Trace(
        nodes=kept,
        values={name: np.asarray(value) for name, value in values.items()},
        constants=frozenset(same),
        whole=_whole(nodes, constants),
        output=output,
    )


def _whole(
    nodes: list[onnx.NodeProto], constants: dict[str, NDArray[Any]]
) -> dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """What ``Mul(Cast(int8 constant), scales)`` gives, where each column has one scale."""
    cast = {
        node.output[0]: constants[node.input[0]]
        for node in nodes
        if node.op_type == "Cast" and node.input[0] in constants
    }
    found = {}
    for node in nodes:
        if node.op_type != "Mul" or node.input[0] not in cast or node.input[1] not in constants:
            continue
        numbers, scales = cast[node.input[0]], constants[node.input[1]]
        if numbers.dtype == np.int8 and scales.shape == (*numbers.shape[:-2], 1, numbers.shape[-1]):
            found[node.output[0]] = (numbers, scales)
    return found


def _leading_to(output: str, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


def _missing(kind: str) -> NDArray[Any]:
    if kind == "categorical":
        return np.array([""], dtype=object)
    return np.array([np.nan], dtype=np.float64 if kind == "date" else np.float32)
