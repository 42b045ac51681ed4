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
    output
        Name of the first output.
    """

    nodes: tuple[onnx.NodeProto, ...]
    values: dict[str, NDArray[Any]]
    constants: frozenset[str]
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
    return Trace(kept, {name: np.asarray(value) for name, value in values.items()}, frozenset(same), output)


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
