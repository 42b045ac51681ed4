"""Weights as a file keeps them: rounded to fewer bytes, and made float32 again when it is opened.

The student computes with the rounded weights too, so nothing is lost between it and its graph. ONNX Runtime
puts them back once, at opening: answers cost the same.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.types import Floats

Storage: TypeAlias = Literal["float32", "float16", "int8"]
"""``int8`` has one float32 scale for each column of a weight (its last axis)."""

FEW = 256
"""Weights of fewer numbers are kept as they are: their nodes would take more bytes than they save."""

LARGEST = 127
HALF_LARGEST = np.float32(np.finfo(np.float16).max)


def rounded(weight: Floats, storage: Storage) -> Floats:
    """``weight`` as `build_weight` gives it back, float32."""
    if storage == "float32" or weight.size < FEW:
        return weight
    if storage == "float16":
        return np.clip(weight, -HALF_LARGEST, HALF_LARGEST).astype(np.float16).astype(np.float32)
    whole, scale = quantized(weight)
    return whole.astype(np.float32) * scale


def build_weight(graph: GraphBuilder, weight: Floats, storage: Storage) -> str:
    """Add a `rounded` weight as a constant of ``storage`` and the nodes that make it float32."""
    if storage == "float32" or weight.size < FEW:
        return graph.constant(weight)
    if storage == "float16":
        return graph.node("Cast", graph.constant(weight.astype(np.float16)), to=TensorProto.FLOAT)
    # Not DequantizeLinear, which ONNX Runtime would do again for every answer.
    whole, scale = quantized(weight)
    wide = graph.node("Cast", graph.constant(whole), to=TensorProto.FLOAT)
    return graph.node("Mul", wide, graph.constant(scale))


def rounded_rows(table: Floats, storage: Storage) -> Floats:
    """A table ``(rows, columns)`` as `build_rows` gives it back, float32; ``int8`` has a scale a row."""
    return np.ascontiguousarray(rounded(np.ascontiguousarray(table.T), storage).T)


def build_rows(graph: GraphBuilder, table: Floats, storage: Storage, rows: str) -> str:
    """Add a table that was `rounded_rows` and the nodes that look up ``rows`` in it, as float32.

    Only what is looked up is made float32: a large table stays as small in memory as it is in the file.
    """
    if storage == "float32" or table.size < FEW:
        return graph.node("Gather", graph.constant(table), rows)
    if storage == "float16":
        found = graph.node("Gather", graph.constant(table.astype(np.float16)), rows)
        return graph.node("Cast", found, to=TensorProto.FLOAT)
    whole, scale = quantized(np.ascontiguousarray(table.T))
    found = graph.node("Gather", graph.constant(np.ascontiguousarray(whole.T)), rows)
    wide = graph.node("Cast", found, to=TensorProto.FLOAT)
    return graph.node("Mul", wide, graph.node("Gather", graph.constant(scale.T), rows))


def quantized(weight: Floats) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.int8]], Floats]:
    """Whole numbers in ±127, and the scale ``(…, 1, columns)`` of each column."""
    largest = np.abs(weight).max(axis=-2, keepdims=True)
    scale: Floats = np.where(largest > 0, largest / LARGEST, 1).astype(np.float32)
    return np.round(weight / scale).astype(np.int8), scale
