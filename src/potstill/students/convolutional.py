"""Convolutional networks as files keep them, and as ONNX nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from potstill.graph import GraphBuilder
from potstill.networks.convolution import Layer, kind_of
from potstill.students.stored_weights import Storage, build_weight, rounded
from potstill.types import Floats


def as_stored(weights: Mapping[str, Floats], storage: Storage) -> dict[str, Floats]:
    """`folded` weights as a file of ``storage`` gives them back; biases are kept as they are."""
    kept = {"logit_weight": rounded(weights["logit_weight"], storage)}
    for name, weight in weights.items():
        if kind_of(name) == "kernel":
            kept[name] = rounded(_as_matrix(weight), storage).T.reshape(weight.shape)
        elif name not in kept:
            kept[name] = weight
    return kept


def build_network(
    graph: GraphBuilder,
    layers: Sequence[Layer],
    weights: Mapping[str, Floats],
    planes: str,
    *,
    storage: Storage,
) -> str:
    """Add the nodes of `potstill.networks.convolution.forward` for `as_stored` weights.

    ``planes`` names normalised ``(n, C, H, W)`` pictures.
    """
    results = [planes]
    for i, layer in enumerate(layers):
        kernel = weights[f"kernel{i}"]
        stored = build_weight(graph, _as_matrix(kernel), storage)
        shape = graph.constant(np.array(kernel.shape, dtype=np.int64))
        values = graph.node(
            "Conv",
            results[-1],
            graph.node("Reshape", graph.node("Transpose", stored, perm=[1, 0]), shape),
            graph.constant(weights[f"bias{i}"]),
            strides=[layer.stride] * 2,
            pads=[layer.kernel // 2] * 4,
            group=layer.groups,
        )
        if layer.adds:
            values = graph.node("Add", values, results[-layer.adds])
        results.append(graph.node("Relu", values) if layer.relu else values)
    means = graph.node("Flatten", graph.node("GlobalAveragePool", results[-1]))
    dense = build_weight(graph, weights["logit_weight"], storage)
    return graph.node("Gemm", means, dense, graph.constant(weights["logit_bias"]))


def _as_matrix(kernel: Floats) -> Floats:
    """``(in · k · k, out)``: a column for each output, as stored weights are scaled."""
    return np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
