"""The network of `Transformer` as ONNX nodes: `potstill.networks.bert` said a second time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from potstill.graph import GraphBuilder
from potstill.networks.bert import FAR, BertShape, Pooling
from potstill.students.stored_weights import Storage, build_rows, build_weight
from potstill.types import Floats


def stored(name: str, storage: Storage) -> Storage:
    """How a file of ``storage`` keeps the weight called ``name``."""
    if name.startswith(("norm", "logit")) or any(part in name for part in ("bias", "scale", "shift")):
        return "float32"
    return "float16" if name == "position" and storage == "int8" else storage


def build_transformer(
    graph: GraphBuilder,
    weights: Mapping[str, Floats],
    shape: BertShape,
    *,
    pieces: str,
    pooling: Pooling,
    storage: Storage,
) -> str:
    """Add the nodes of encoder, pooling and head; return the name of the logits ``(n, K)``.

    Parameters
    ----------
    graph
        To add them to.
    weights, shape
        Of the network, rounded as ``storage`` has them.
    pieces
        Name of the ids ``(n, P)``; of P only as many as there are positions are looked at.
    pooling, storage
        As in `potstill.students.transformer.Transformer`.
    """
    return _Builder(graph, weights, shape, storage).logits(pieces, pooling)


class _Builder:
    """Adds the nodes of one network to a graph."""

    def __init__(
        self, graph: GraphBuilder, weights: Mapping[str, Floats], shape: BertShape, storage: Storage
    ) -> None:
        self._graph = graph
        self._weights = weights
        self._shape = shape
        self._storage = storage

    def logits(self, pieces: str, pooling: Pooling) -> str:
        node, ints = self._graph.node, self._ints
        whole = node("Cast", pieces, to=TensorProto.INT64)
        ids = node("Slice", whole, ints(0), ints(self._shape.positions), ints(1))
        hidden = self._embedded(ids)
        filling = node("Equal", ids, ints(0))
        far = node("Unsqueeze", node("Where", filling, self._float(FAR), self._float(0)), ints(1, 2))
        for layer in range(self._shape.layers):
            hidden = self._layer(hidden, far, layer)
        if pooling == "first":
            texts = node("Gather", hidden, self._graph.constant(np.array(0, dtype=np.int64)), axis=1)
        else:
            texts = self._mean(hidden, filling)
        return node("Gemm", texts, self._weight("logit_weight"), self._weight("logit_bias"))

    def _embedded(self, ids: str) -> str:
        node, ints = self._graph.node, self._ints
        words = build_rows(self._graph, self._weights["word"], self._storage, ids)
        length = node("Shape", ids, start=1, end=2)
        positions = node("Slice", self._weight("position"), ints(0), length, ints(0))
        return self._normalised(node("Add", words, positions), "norm_scale", "norm_shift")

    def _layer(self, hidden: str, far: str, layer: int) -> str:
        node = self._graph.node
        mixed = self._dense(self._attended(hidden, far, layer), "mix", layer)
        hidden = self._normalised(node("Add", hidden, mixed), f"mix_scale{layer}", f"mix_shift{layer}")
        inner = node("Gelu", self._dense(hidden, "widen", layer))
        narrowed = self._dense(inner, "narrow", layer)
        return self._normalised(node("Add", hidden, narrowed), f"narrow_scale{layer}", f"narrow_shift{layer}")

    def _attended(self, hidden: str, far: str, layer: int) -> str:
        node, heads, width = self._graph.node, self._shape.heads, self._shape.width
        projected = self._dense(hidden, "attend", layer)
        # 0 takes over the length of the axis: a batch of no rows has none to infer.
        apart = self._ints(0, 0, heads, width // heads)
        parts = self._graph.nodes("Split", projected, n_outputs=3, axis=2, num_outputs=3)
        query, key, value = (node("Reshape", part, apart) for part in parts)
        query, value = (node("Transpose", part, perm=[0, 2, 1, 3]) for part in (query, value))
        scores = node("MatMul", query, node("Transpose", key, perm=[0, 2, 3, 1]))
        scaled = node("Mul", scores, self._float(1 / math.sqrt(width // heads)))
        shares = node("Softmax", node("Add", scaled, far), axis=3)
        taken = node("Transpose", node("MatMul", shares, value), perm=[0, 2, 1, 3])
        return node("Reshape", taken, self._ints(0, 0, width))

    def _mean(self, hidden: str, filling: str) -> str:
        node = self._graph.node
        there = node("Cast", node("Not", filling), to=TensorProto.FLOAT)
        kept = node("Mul", hidden, node("Unsqueeze", there, self._ints(2)))
        total = node("ReduceSum", kept, self._ints(1), keepdims=0)
        count = node("Max", node("ReduceSum", there, self._ints(1), keepdims=1), self._float(1))
        return node("Div", total, count)

    def _dense(self, value: str, name: str, layer: int) -> str:
        product = self._graph.node("MatMul", value, self._weight(f"{name}{layer}"))
        return self._graph.node("Add", product, self._weight(f"{name}_bias{layer}"))

    def _normalised(self, value: str, scale: str, shift: str) -> str:
        return self._graph.node(
            "LayerNormalization",
            value,
            self._weight(scale),
            self._weight(shift),
            axis=-1,
            epsilon=self._shape.epsilon,
        )

    def _weight(self, name: str) -> str:
        return build_weight(self._graph, self._weights[name], stored(name, self._storage))

    def _ints(self, *values: int) -> str:
        return self._graph.constant(np.array(values, dtype=np.int64))

    def _float(self, value: Any) -> str:
        return self._graph.constant(np.array(value, dtype=np.float32))
