"""The network of `MLP`, said twice: in torch and as ONNX nodes.

Scaled numbers (with periodic embeddings), missing-value indicators and embedded categories side by side, then
dense layers with ReLU between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from potstill.graph import GraphBuilder
from potstill.types import Floats, Ints

Weights: TypeAlias = dict[str, Tensor]
"""``weight{i}`` ``(in, out)`` and ``bias{i}`` ``(out,)`` of each dense layer; with categories ``embedding``
``(levels, E)``; with periodic embeddings ``frequency`` and ``phase`` ``(F, H)`` and ``mix`` ``(F, H, D)``."""

N_FREQUENCIES = 16
N_PERIODIC = 3
FREQUENCY_SCALE = 0.3


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of a network.

    Parameters
    ----------
    n_numeric, n_indicators
        Columns of scaled numbers and of missing-value indicators.
    cardinalities
        Level ids of each categorical column.
    embedding
        Length of a category's embedding.
    periodic
        Whether numbers have periodic embeddings.
    hidden
        Widths of the hidden layers.
    n_outputs
        Logits.
    """

    n_numeric: int
    n_indicators: int
    cardinalities: tuple[int, ...]
    embedding: int
    periodic: bool
    hidden: tuple[int, ...]
    n_outputs: int

    @property
    def offsets(self) -> Ints:
        """``(C,)`` row of the embedding table where each column's levels begin."""
        return np.cumsum([0, *self.cardinalities], dtype=np.int64)[:-1]

    @property
    def has_periodic(self) -> bool:
        return self.periodic and self.n_numeric > 0

    @property
    def n_inputs(self) -> int:
        """Width of the first dense layer's input."""
        numbers = self.n_numeric * (1 + N_PERIODIC * self.has_periodic)
        return numbers + self.n_indicators + len(self.cardinalities) * self.embedding


@dataclass(frozen=True)
class Inputs:
    """Rows as the network takes them.

    Parameters
    ----------
    numbers
        ``(n, F)`` scaled.
    indicators
        ``(n, M)``.
    levels
        ``(n, C)`` int64 rows of the one embedding table.
    """

    numbers: Tensor
    indicators: Tensor
    levels: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Tensor) -> Inputs:
        """The rows at ``rows``."""
        return Inputs(
            numbers=self.numbers.index_select(0, rows),
            indicators=self.indicators.index_select(0, rows) if self.indicators.shape[1] else self.indicators,
            levels=self.levels.index_select(0, rows) if self.levels.shape[1] else self.levels,
        )


def initial_weights(shape: NetworkShape, start: Floats, generator: torch.Generator) -> Weights:
    """Random weights; the last bias is ``start`` ``(K,)``, the last layer's weights are small."""

    def normal(*size: int, scale: float) -> Tensor:
        return torch.randn(size, generator=generator) * scale

    weights: Weights = {}
    if shape.cardinalities:
        weights["embedding"] = normal(sum(shape.cardinalities), shape.embedding, scale=0.5)
    if shape.has_periodic:
        size = (shape.n_numeric, N_FREQUENCIES)
        weights["frequency"] = normal(*size, scale=2 * math.pi * FREQUENCY_SCALE)
        weights["phase"] = (torch.rand(size, generator=generator) * 2 - 1) * math.pi
        weights["mix"] = normal(*size, N_PERIODIC, scale=math.sqrt(2 / N_FREQUENCIES))
    widths = [shape.n_inputs, *shape.hidden]
    for i, (n_in, n_out) in enumerate(zip(widths, shape.hidden, strict=False)):
        weights[f"weight{i}"] = normal(n_in, n_out, scale=math.sqrt(2 / n_in))
        weights[f"bias{i}"] = normal(n_out, scale=0.1)
    last = len(shape.hidden)
    weights[f"weight{last}"] = normal(widths[-1], shape.n_outputs, scale=0.3 / math.sqrt(widths[-1]))
    weights[f"bias{last}"] = torch.from_numpy(start.copy())
    return weights


def forward(weights: Mapping[str, Tensor], inputs: Inputs, *, masks: Sequence[Tensor] = ()) -> Tensor:
    """Logits ``(n, K)``; ``masks``, one ``(n, width)`` for each hidden layer or none, multiply its units."""
    parts = [inputs.numbers]
    if "mix" in weights:
        waves = torch.cos(
            inputs.numbers.T[:, :, None] * weights["frequency"][:, None] + weights["phase"][:, None]
        )
        parts.append(torch.bmm(waves, weights["mix"]).transpose(0, 1).flatten(1))
    if inputs.indicators.shape[1]:
        parts.append(inputs.indicators)
    if "embedding" in weights:
        parts.append(torch.nn.functional.embedding(inputs.levels, weights["embedding"]).flatten(1))
    hidden = torch.cat(parts, dim=1)
    last = n_layers(weights) - 1
    for i in range(last):
        hidden = torch.relu_(torch.addmm(weights[f"bias{i}"], hidden, weights[f"weight{i}"]))
        if masks:
            hidden = hidden * masks[i]
    return torch.addmm(weights[f"bias{last}"], hidden, weights[f"weight{last}"])


def build_network(
    graph: GraphBuilder,
    weights: Mapping[str, Floats],
    *,
    numbers: str | None,
    indicators: str | None,
    levels: str | None,
) -> str:
    """Add the nodes of `forward`; arguments are names of its inputs, None for empty ones."""
    parts = []
    if numbers is not None:
        parts.append(numbers)
        if "mix" in weights:
            parts.append(_build_periodic(graph, weights, numbers))
    if indicators is not None:
        parts.append(indicators)
    if levels is not None:
        embedded = graph.node("Gather", graph.constant(weights["embedding"]), levels)
        parts.append(graph.node("Flatten", embedded, axis=1))
    hidden = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    last = n_layers(weights) - 1
    for i in range(last + 1):
        weight, bias = graph.constant(weights[f"weight{i}"]), graph.constant(weights[f"bias{i}"])
        hidden = graph.node("Gemm", hidden, weight, bias)
        if i < last:
            hidden = graph.node("Relu", hidden)
    return hidden


def _build_periodic(graph: GraphBuilder, weights: Mapping[str, Floats], numbers: str) -> str:
    column_major = graph.node("Transpose", numbers, perm=[1, 0])
    columns = graph.node("Unsqueeze", column_major, graph.constant(np.array([2], dtype=np.int64)))
    turned = graph.node("Mul", columns, graph.constant(weights["frequency"][:, None]))
    waves = graph.node("Cos", graph.node("Add", turned, graph.constant(weights["phase"][:, None])))
    mixed = graph.node("MatMul", waves, graph.constant(weights["mix"]))
    row_major = graph.node("Transpose", mixed, perm=[1, 0, 2])
    # Flatten, not Reshape: a batch of no rows has no length to infer.
    return graph.node("Flatten", row_major, axis=1)


def n_layers(weights: Mapping[str, object]) -> int:
    """Number of dense layers."""
    return sum(name.startswith("bias") for name in weights)
