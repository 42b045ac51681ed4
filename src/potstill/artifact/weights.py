"""How many numbers a graph holds, counted in the file itself, so that files of any version can be compared.

References
----------
GraphProto, NodeProto, AttributeProto and TensorProto in onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from potstill.artifact.envelope import records, varint

_GRAPH = 7
_NODE, _INITIALIZER = 1, 5
_ATTRIBUTE = 5
_NAME, _TENSOR, _FLOATS = 1, 5, 7
_DIMS, _DATA_TYPE = 1, 2
_INDICES_AND_TEXT = {6, 7, 8, 9}
"""TensorProto's int32, int64, string and bool: shapes, axes and tables, nothing that was learned."""

_THRESHOLDS = (b"nodes_values", b"nodes_values_as_tensor")
"""One number for each node of a tree: its threshold, or for a leaf the place of its value."""


def n_parameters(data: bytes) -> int:
    """Weights, thresholds and leaf values in an ONNX file, those of its preprocessing among them."""
    total = 0
    for graph in _bodies(data, _GRAPH):
        total += sum(_elements(tensor) for tensor in _bodies(graph, _INITIALIZER))
        for node in _bodies(graph, _NODE):
            total += sum(_thresholds(attribute) for attribute in _bodies(node, _ATTRIBUTE))
    return total


def _bodies(data: bytes, field: int) -> Iterator[bytes]:
    for record in records(data):
        if record.field == field:
            yield data[record.payload : record.end]


def _elements(tensor: bytes) -> int:
    """Elements of a tensor; 0 where they are indices or text."""
    dims: list[int] = []
    for record in records(tensor):
        if record.field == _DIMS:
            # Packed, a list of numbers is one record; otherwise each is one.
            dims += _numbers(tensor, record.payload, record.end)
        elif record.field == _DATA_TYPE and varint(tensor, record.payload)[0] in _INDICES_AND_TEXT:
            return 0
    return prod(dims)


def _numbers(data: bytes, position: int, end: int) -> Iterator[int]:
    while position < end:
        number, position = varint(data, position)
        yield number


def _thresholds(attribute: bytes) -> int:
    if next(_bodies(attribute, _NAME), b"") not in _THRESHOLDS:
        return 0
    listed = sum(
        (record.end - record.payload) // 4 for record in records(attribute) if record.field == _FLOATS
    )
    return listed + sum(_elements(tensor) for tensor in _bodies(attribute, _TENSOR))
