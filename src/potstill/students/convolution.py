"""Convolutional networks as they are kept and exported: convolutions, and what came after them folded in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor
from torch.nn import functional

from potstill.graph import GraphBuilder
from potstill.networks.convolution import MIDDLE, SPREAD, Block, ConvolutionalNetwork, Layer, forward_block
from potstill.students.stored_weights import Storage, build_weight, rounded
from potstill.types import Floats, Tensors

ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class FittedConvolutional:
    """A fitted network.

    Parameters
    ----------
    blocks
        Its layers.
    weights
        By name, already rounded as the file keeps them: ``LAYER.weight`` ``(outputs, inputs / groups, kernel,
        kernel)``, ``LAYER.bias``, and of the head ``(features, K)`` and ``(K,)``.
    storage
        How the file keeps them.
    """

    blocks: tuple[Block, ...]
    weights: Mapping[str, Floats]
    storage: Storage

    @classmethod
    def of(cls, network: ConvolutionalNetwork, storage: Storage) -> FittedConvolutional:
        """What a trained network is kept as."""
        kept = {name: _rounded(weight, storage) for name, weight in network.folded().items()}
        return cls(network.blocks, kept, storage)

    @property
    def n_parameters(self) -> int:
        """Trained numbers."""
        return sum(weight.size for weight in self.weights.values())

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32, see `potstill.types.FittedStudent`."""
        pixels = torch.from_numpy(np.ascontiguousarray(tensors["pixels"]))
        weights = {name: torch.from_numpy(weight) for name, weight in self.weights.items()}
        n_outputs = len(self.weights["head.bias"])
        answers = [np.zeros((0, n_outputs), dtype=np.float32)]
        with torch.no_grad():
            for some in torch.split(pixels, ROWS_AT_ONCE) if len(pixels) else ():
                answers.append(self._answer(some.permute(0, 3, 1, 2), weights).numpy())
        return np.concatenate(answers)

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the network, see `potstill.types.FittedStudent`."""

        def constant(value: float) -> str:
            return graph.constant(np.array(value, dtype=np.float32))

        pixels = graph.node("Cast", tensors["pixels"], to=TensorProto.FLOAT)
        pixels = graph.node("Transpose", pixels, perm=[0, 3, 1, 2])
        values = graph.node("Div", graph.node("Sub", pixels, constant(MIDDLE)), constant(SPREAD))
        for block in self.blocks:
            given = values
            for position, layer in enumerate(block.layers):
                values = self._convolved(graph, layer, values)
                if position + 1 < len(block.layers):
                    values = graph.node("Relu", values)
            if block.adds:
                past = given if block.past is None else self._convolved(graph, block.past, given)
                values = graph.node("Add", values, past)
            values = graph.node("Relu", values)
        axes = graph.constant(np.array([2, 3], dtype=np.int64))
        pooled = graph.node("ReduceMean", values, axes, keepdims=0)
        head = graph.node("MatMul", pooled, self._constant(graph, "head.weight"))
        return graph.node("Add", head, graph.constant(self.weights["head.bias"]))

    def _answer(self, pixels: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        values = (pixels.float() - MIDDLE) / SPREAD

        def convolve(layer: Layer, given: Tensor) -> Tensor:
            weight, bias = weights[f"{layer.name}.weight"], weights[f"{layer.name}.bias"]
            return functional.conv2d(given, weight, bias, layer.stride, layer.kernel // 2, 1, layer.groups)

        for block in self.blocks:
            values = forward_block(block, values, convolve)
        return values.mean(dim=(2, 3)) @ weights["head.weight"] + weights["head.bias"]

    def _convolved(self, graph: GraphBuilder, layer: Layer, values: str) -> str:
        pad = layer.kernel // 2
        return graph.node(
            "Conv",
            values,
            self._constant(graph, f"{layer.name}.weight"),
            graph.constant(self.weights[f"{layer.name}.bias"]),
            kernel_shape=[layer.kernel, layer.kernel],
            strides=[layer.stride, layer.stride],
            pads=[pad] * 4,
            group=layer.groups,
        )

    def _constant(self, graph: GraphBuilder, name: str) -> str:
        """A weight; what is kept as float16 is made float32 once, when the file is opened."""
        return build_kept(graph, self.weights[name], self.storage)


def build_kept(graph: GraphBuilder, weight: Floats, storage: Storage) -> str:
    """Add a weight of any shape as `students.stored_weights` keeps matrices."""
    if weight.ndim == 2:
        return build_weight(graph, weight, storage)
    flat = build_weight(graph, _matrix(weight), storage)
    turned = graph.node("Transpose", flat, perm=[1, 0])
    return graph.node("Reshape", turned, graph.constant(np.array(weight.shape, dtype=np.int64)))


def _rounded(weight: Floats, storage: Storage) -> Floats:
    if weight.ndim < 2:
        return weight
    if weight.ndim == 2:
        return rounded(weight, storage)
    kept = rounded(_matrix(weight), storage)
    return np.ascontiguousarray(kept.T).reshape(weight.shape)


def _matrix(weight: Floats) -> Floats:
    """``(inputs, outputs)``: every output channel a column, which has a scale of its own."""
    return np.ascontiguousarray(weight.reshape(len(weight), -1).T)
