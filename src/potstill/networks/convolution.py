"""Convolutional networks as they are trained: blocks of layers, with batch normalisation.

It is folded into the convolutions afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.types import Floats

MIDDLE, SPREAD = 127.5, 64.0
"""Pixels are made numbers of about unit size by these."""

SHIFT = 0.125
"""Part of a picture's height and width by which it is moved in training at most."""


class Layer(NamedTuple):
    """One convolution.

    Parameters
    ----------
    name
        Of its weights.
    inputs, outputs, kernel, stride, groups
        As in `torch.nn.Conv2d`; padding is ``kernel // 2``.
    """

    name: str
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1


class Block(NamedTuple):
    """Convolutions one after the other, with ReLU between them; beside them the way past.

    Parameters
    ----------
    layers
        The convolutions.
    past
        The convolution of the way past, where shapes differ.
    adds
        Whether there is a way past at all.
    """

    layers: tuple[Layer, ...]
    past: Layer | None = None
    adds: bool = True


def residual_blocks(widths: Sequence[int], *, channels: int, stem_stride: int, depth: int = 1) -> list[Block]:
    """A stem, then for each width ``depth`` blocks of two 3 x 3 convolutions, at half the resolution each."""
    blocks = [Block((Layer("stem", channels, widths[0], stride=stem_stride),), adds=False)]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for number in range(depth):
            stride, name = (2 if stage and not number else 1), f"b{stage}_{number}"
            layers = (Layer(f"{name}a", inputs, width, stride=stride), Layer(f"{name}b", width, width))
            changed = stride > 1 or inputs != width
            past = Layer(f"{name}p", inputs, width, kernel=1, stride=stride) if changed else None
            blocks.append(Block(layers, past))
            inputs = width
    return blocks


def depthwise_blocks(
    widths: Sequence[int], *, channels: int, stem_stride: int, depth: int = 2
) -> list[Block]:
    """A stem, then for each width ``depth`` convolutions of single channels, each with one across them."""
    blocks = [Block((Layer("stem", channels, widths[0], stride=stem_stride),), adds=False)]
    inputs = widths[0]
    for stage, width in enumerate(widths):
        for number in range(depth):
            stride, name = (2 if stage and not number else 1), f"d{stage}_{number}"
            layers = (
                Layer(f"{name}a", inputs, inputs, stride=stride, groups=inputs),
                Layer(f"{name}b", inputs, width, kernel=1),
            )
            blocks.append(Block(layers, adds=stride == 1 and inputs == width))
            inputs = width
    return blocks


class ConvolutionalNetwork(nn.Module):
    """The network in training: every convolution is followed by batch normalisation.

    Parameters
    ----------
    blocks
        From pixels to features.
    n_outputs
        Numbers it answers.
    """

    def __init__(self, blocks: Sequence[Block], n_outputs: int) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        self.convolutions = nn.ModuleDict()
        for layer in layers_of(blocks):
            convolution = nn.Conv2d(
                *layer[1:4], layer.stride, padding=layer.kernel // 2, groups=layer.groups, bias=False
            )
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            self.convolutions[layer.name] = nn.Sequential(convolution, nn.BatchNorm2d(layer.outputs))
        self.head = nn.Linear(blocks[-1].layers[-1].outputs, n_outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """``(n, channels, height, width)`` uint8 or float pixels from 0 to 255 to ``(n, K)`` logits."""
        values = (pixels.float() - MIDDLE) / SPREAD
        values = values.contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            values = forward_block(block, values, lambda layer, given: self.convolutions[layer.name](given))
        pooled: Tensor = self.head(values.float().mean(dim=(2, 3)))
        return pooled

    def folded(self) -> dict[str, Floats]:
        """The weights of `FittedConvolutional`."""
        weights: dict[str, Floats] = {}
        for layer in layers_of(self.blocks):
            both: Any = self.convolutions[layer.name]
            convolution, norm = both
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            weights[f"{layer.name}.weight"] = _array(convolution.weight * scale[:, None, None, None])
            weights[f"{layer.name}.bias"] = _array(norm.bias - norm.running_mean * scale)
        weights["head.weight"] = _array(self.head.weight.T)
        weights["head.bias"] = _array(self.head.bias)
        return weights


def layers_of(blocks: Sequence[Block]) -> Iterator[Layer]:
    """All convolutions."""
    for block in blocks:
        yield from block.layers
        if block.past is not None:
            yield block.past


def forward_block(block: Block, values: Any, convolve: Any) -> Any:
    """One block; ``convolve(layer, values)`` is a convolution without its ReLU."""
    given = values
    for position, layer in enumerate(block.layers):
        values = convolve(layer, values)
        if position + 1 < len(block.layers):
            values = functional.relu(values)
    if block.adds:
        values = values + (given if block.past is None else convolve(block.past, given))
    return functional.relu(values)


def seen_anew(pixels: Tensor, *, flips: bool, generator: torch.Generator) -> Tensor:
    """Each picture shifted by itself, what moves in being black, and half of them mirrored."""
    n, channels, height, width = pixels.shape
    down, right = (max(1, round(SHIFT * side)) for side in (height, width))
    padded = functional.pad(pixels, (right, right, down, down))
    rows = torch.arange(height) + torch.randint(0, 2 * down + 1, (n, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(0, 2 * right + 1, (n, 1), generator=generator)
    if flips:
        mirrored = torch.rand(n, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    at = torch.arange(n)[:, None, None]
    seen = padded.permute(0, 2, 3, 1)[at, rows[:, :, None], columns[:, None, :]]
    return seen.reshape(n, height, width, channels).permute(0, 3, 1, 2)


def _array(weight: Tensor) -> Floats:
    array: Floats = weight.detach().float().cpu().numpy().copy()
    return array
