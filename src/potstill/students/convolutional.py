"""Convolutional networks of `ResidualCNN` and `DepthwiseCNN`, said twice: in torch and as ONNX nodes.

A network is a list of convolutions, each batch-normalised while it learns, then the mean over all places and
one dense layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from potstill.graph import GraphBuilder
from potstill.students.stored_weights import Storage, build_weight, rounded
from potstill.types import Floats

Weights: TypeAlias = dict[str, Tensor]
"""Of layer i ``kernel{i}`` ``(out, in / groups, k, k)``, and while it learns ``gain{i}``, ``bias{i}``,
``mean{i}`` and ``variance{i}`` ``(out,)`` of its normalisation; `folded`, ``bias{i}`` alone. Of the dense
layer ``logit_weight`` ``(C, K)`` and ``logit_bias`` ``(K,)``."""

FIXED = ("mean", "variance")
"""Kinds of weight that are counted, not learnt."""

MOMENTUM = 0.1
EPSILON = 1e-5
LARGEST_INSIDE = 16
"""A stem halves pictures until their longer side is at most this: what follows is the costly part."""

SMALLEST_INSIDE = 4
"""Pictures whose longer side is at most this are not halved again."""


class Layer(NamedTuple):
    """One convolution.

    Parameters
    ----------
    inputs, outputs
        Channels.
    kernel, stride
        Pixels; the borders are filled up with 0.
    groups
        As many as channels in a depthwise convolution, else 1.
    relu
        Whether negative results become 0.
    adds
        The result of how many layers before is added, that before this layer being 1; 0 for none.
    """

    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    relu: bool = True
    adds: int = 0


def stem_strides(height: int, width: int) -> tuple[int, ...]:
    """Stride of each convolution of a stem for pictures of this size."""
    halvings = max(0, math.ceil(math.log2(max(height, width) / LARGEST_INSIDE)))
    return (2,) * halvings or (1,)


def strides_between(height: int, width: int, n_stages: int) -> list[int]:
    """Stride of the way to each stage but the first, for pictures of this size after the stem."""
    side, strides = max(height, width), []
    for stride in stem_strides(height, width):
        side = math.ceil(side / stride)
    for _ in range(n_stages - 1):
        strides.append(2 if side > SMALLEST_INSIDE else 1)
        side = math.ceil(side / strides[-1])
    return strides


def initial_weights(layers: Sequence[Layer], start: Floats, generator: torch.Generator) -> Weights:
    """Random weights; a branch that is added begins as 0, the last bias as ``start`` ``(K,)``."""
    weights: Weights = {}
    for i, layer in enumerate(layers):
        size = (layer.outputs, layer.inputs // layer.groups, layer.kernel, layer.kernel)
        scale = math.sqrt(2 / math.prod(size[1:]))
        weights[f"kernel{i}"] = torch.randn(size, generator=generator) * scale
        weights[f"gain{i}"] = torch.zeros(layer.outputs) if layer.adds else torch.ones(layer.outputs)
        weights[f"bias{i}"], weights[f"mean{i}"] = torch.zeros(layer.outputs), torch.zeros(layer.outputs)
        weights[f"variance{i}"] = torch.ones(layer.outputs)
    last = torch.randn(layers[-1].outputs, len(start), generator=generator)
    weights["logit_weight"] = last * (0.3 / math.sqrt(layers[-1].outputs))
    weights["logit_bias"] = torch.from_numpy(start.copy())
    return weights


def forward(
    layers: Sequence[Layer], weights: Mapping[str, Tensor], planes: Tensor, *, learning: bool = False
) -> Tensor:
    """Logits ``(n, K)`` of normalised ``(n, C, H, W)`` pictures.

    ``learning`` normalises by the batch and notes its mean and variance.
    """
    results = [planes]
    for i, layer in enumerate(layers):
        normalised = f"gain{i}" in weights
        bias = None if normalised else weights[f"bias{i}"]
        values = functional.conv2d(
            results[-1], weights[f"kernel{i}"], bias, layer.stride, layer.kernel // 2, groups=layer.groups
        )
        if normalised:
            mean, variance, gain, bias = (
                weights[f"{part}{i}"] for part in ("mean", "variance", "gain", "bias")
            )
            values = functional.batch_norm(values, mean, variance, gain, bias, learning, MOMENTUM, EPSILON)
        if layer.adds:
            values = values + results[-layer.adds]
        results.append(functional.relu(values) if layer.relu else values)
    return results[-1].mean(dim=(2, 3)) @ weights["logit_weight"] + weights["logit_bias"]


def folded(layers: Sequence[Layer], weights: Weights) -> Weights:
    """The network as it answers: each normalisation within its convolution."""
    left = {"logit_weight": weights["logit_weight"], "logit_bias": weights["logit_bias"]}
    for i in range(len(layers)):
        scale = weights[f"gain{i}"] / (weights[f"variance{i}"] + EPSILON).sqrt()
        left[f"kernel{i}"] = weights[f"kernel{i}"] * scale[:, None, None, None]
        left[f"bias{i}"] = weights[f"bias{i}"] - weights[f"mean{i}"] * scale
    return left


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
    """Add the nodes of `forward` for `as_stored` weights; ``planes`` names ``(n, C, H, W)`` pictures."""
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


def kind_of(name: str) -> str:
    """The name without the number of the layer."""
    return name.rstrip("0123456789")


def _as_matrix(kernel: Floats) -> Floats:
    """``(in · k · k, out)``: a column for each output, as stored weights are scaled."""
    return np.ascontiguousarray(kernel.reshape(len(kernel), -1).T)
