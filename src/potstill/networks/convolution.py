"""Convolutional networks for pictures, as they learn and, folded, as they answer.

A network is a list of convolutions, each batch-normalised while it learns, then the mean over all places and
one dense layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from potstill.types import Floats

Weights: TypeAlias = dict[str, Tensor]
"""Of layer i ``kernel{i}`` ``(out, in / groups, k, k)``, and while it learns ``gain{i}``, ``bias{i}``,
``mean{i}`` and ``variance{i}`` ``(out,)`` of its normalisation; `folded`, ``bias{i}`` alone. Of the dense
layer ``logit_weight`` ``(C, K)`` and ``logit_bias`` ``(K,)``."""

FIXED = ("mean", "variance")
"""Kinds of weight that are counted, not learnt."""

MOMENTUM = 0.1
EPSILON = 1e-5
LARGEST_AT_FIRST, LARGEST_INSIDE, SMALLEST_INSIDE = 32, 16, 2
"""Longer side of pictures: at most after the first convolution, after the stem; what is not halved again."""


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


def residual_layers(
    shape: Sequence[int], *, stem: int, widths: Sequence[int], blocks: Sequence[int]
) -> list[Layer]:
    """Stages of pairs of 3 x 3 convolutions whose result is added to what they began with.

    Parameters
    ----------
    shape
        Height, width and channels of the pictures.
    stem
        Channels at full resolution.
    widths, blocks
        Channels and pairs of each stage; each but the first begins with a convolution that halves.
    """
    layers = _stem(shape, stem, widths[0])
    before = widths[0]
    strides = _strides_between(shape, len(widths))
    for stage, (after, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        if stage:
            layers.append(Layer(before, after, stride=strides[stage - 1]))
        for _ in range(n_blocks):
            layers += [Layer(after, after), Layer(after, after, adds=2)]
        before = after
    return layers


def depthwise_layers(
    shape: Sequence[int], *, stem: int, widths: Sequence[int], blocks: Sequence[int], expansion: int
) -> list[Layer]:
    """Stages of blocks that widen pixel by pixel, look around channel by channel, and narrow again.

    Parameters
    ----------
    shape
        Height, width and channels of the pictures.
    stem
        Channels at full resolution.
    widths, blocks
        Channels and blocks of each stage; each but the first begins with one more block, which halves.
    expansion
        How many times wider a block is inside.
    """
    layers = _stem(shape, stem, widths[0])
    before = widths[0]
    strides = _strides_between(shape, len(widths))
    for stage, (after, n_blocks) in enumerate(zip(widths, blocks, strict=True)):
        ways = [(before, after, strides[stage - 1], 0)] if stage else []
        for inputs, outputs, stride, adds in [*ways, *[(after, after, 1, 3)] * n_blocks]:
            inside = expansion * inputs
            layers += [
                Layer(inputs, inside, kernel=1),
                Layer(inside, inside, kernel=3, stride=stride, groups=inside),
                Layer(inside, outputs, kernel=1, relu=False, adds=adds),
            ]
        before = after
    return layers


class Work(NamedTuple):
    """What a network does with one picture.

    Parameters
    ----------
    products
        Multiplications and additions, in pairs.
    values
        Numbers that its layers put out.
    weights
        Numbers it learns.
    """

    products: float
    values: float
    weights: int


def work_of(layers: Sequence[Layer], shape: Sequence[int], n_outputs: int) -> Work:
    """The work for one picture of ``shape`` ``(height, width, channels)``."""
    height, width = shape[:2]
    products, values, weights = 0.0, 0.0, (layers[-1].outputs + 1) * n_outputs
    for layer in layers:
        height, width = math.ceil(height / layer.stride), math.ceil(width / layer.stride)
        kernel = layer.kernel**2 * layer.inputs * layer.outputs // layer.groups
        products += kernel * height * width
        values += layer.outputs * height * width
        weights += kernel + layer.outputs
    return Work(products, values, weights)


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
        values = _convolved(layer, results[-1], weights[f"kernel{i}"], bias)
        if normalised:
            mean, variance, gain, bias = (
                weights[f"{part}{i}"] for part in ("mean", "variance", "gain", "bias")
            )
            values = functional.batch_norm(values, mean, variance, gain, bias, learning, MOMENTUM, EPSILON)
        if layer.adds:
            values = values + results[-layer.adds]
        results.append(functional.relu(values) if layer.relu else values)
    return results[-1].mean(dim=(2, 3)) @ weights["logit_weight"] + weights["logit_bias"]


def _convolved(layer: Layer, planes: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """The convolution of ``(n, C, H, W)``, without normalisation.

    Where few places are left, the kernel is nearly all there is to read: as one product of matrices, which
    takes it as it lies in memory, that is twice as fast in training as what convolutions make of it.
    """
    places = [math.ceil(size / layer.stride) for size in planes.shape[2:]]
    if layer.groups > 1 or layer.kernel == 1 or max(places) > SMALLEST_INSIDE:
        return functional.conv2d(planes, kernel, bias, layer.stride, layer.kernel // 2, groups=layer.groups)
    around = layer.kernel // 2
    padded = functional.pad(planes.permute(0, 2, 3, 1), (0, 0, *[around] * 4))
    ends = [layer.stride * (size - 1) + 1 for size in places]
    seen = [
        padded[:, down : down + ends[0] : layer.stride, right : right + ends[1] : layer.stride]
        for down in range(layer.kernel)
        for right in range(layer.kernel)
    ]
    matrix = kernel.permute(0, 2, 3, 1).reshape(layer.outputs, -1)
    return functional.linear(torch.cat(seen, dim=3), matrix, bias).permute(0, 3, 1, 2)


def folded(layers: Sequence[Layer], weights: Weights) -> Weights:
    """The network as it answers: each normalisation within its convolution."""
    left = {"logit_weight": weights["logit_weight"], "logit_bias": weights["logit_bias"]}
    for i in range(len(layers)):
        scale = weights[f"gain{i}"] / (weights[f"variance{i}"] + EPSILON).sqrt()
        left[f"kernel{i}"] = weights[f"kernel{i}"] * scale[:, None, None, None]
        left[f"bias{i}"] = weights[f"bias{i}"] - weights[f"mean{i}"] * scale
    return left


def kind_of(name: str) -> str:
    """The name without the number of the layer."""
    return name.rstrip("0123456789")


def _stem(shape: Sequence[int], first: int, after: int) -> list[Layer]:
    """A convolution at full resolution, and more until the first stage's resolution and channels."""
    strides = _stem_strides(shape)
    outputs = [first, *[after] * (len(strides) - 1)]
    inputs = [shape[2], *outputs[:-1]]
    return [Layer(a, b, stride=stride) for a, b, stride in zip(inputs, outputs, strides, strict=True)]


def _stem_strides(shape: Sequence[int]) -> list[int]:
    side = max(shape[:2])
    at_first = max(0, math.ceil(math.log2(side / LARGEST_AT_FIRST)))
    strides = [2] * at_first or [1]
    side = math.ceil(side / 2**at_first)
    while side > LARGEST_INSIDE:
        strides.append(2)
        side = math.ceil(side / 2)
    return strides if len(strides) > 1 else [*strides, 1]


def _strides_between(shape: Sequence[int], n_stages: int) -> list[int]:
    """Stride of the way to each stage but the first."""
    side, strides = max(shape[:2]), []
    for stride in _stem_strides(shape):
        side = math.ceil(side / stride)
    for _ in range(n_stages - 1):
        strides.append(2 if side > SMALLEST_INSIDE else 1)
        side = math.ceil(side / strides[-1])
    return strides
