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
``(levels, E)``; with embeddings of numbers ``knot`` and ``slope`` ``(F, P)`` of their ramps, ``frequency``
and ``phase`` ``(F, H)`` of their waves and ``mix`` ``(F, P + H, D)``."""

N_FREQUENCIES = 16
FREQUENCY_SCALE = 0.3
GRID = np.float32(512)


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
    embeds_numbers
        Whether numbers have embeddings.
    hidden
        Widths of the hidden layers.
    n_outputs
        Logits.
    """

    n_numeric: int
    n_indicators: int
    cardinalities: tuple[int, ...]
    embedding: int
    embeds_numbers: bool
    hidden: tuple[int, ...]
    n_outputs: int

    @property
    def offsets(self) -> Ints:
        """``(C,)`` row of the embedding table where each column's levels begin."""
        return np.cumsum([0, *self.cardinalities], dtype=np.int64)[:-1]

    @property
    def most_ramps(self) -> int:
        """Ramps of a number at most: few columns can afford a finer grid than many."""
        return min(max(768 // self.n_numeric, 16), 96)

    @property
    def n_mixtures(self) -> int:
        """Length of a number's embedding, itself not counted."""
        return min(max(96 // self.n_numeric, 3), 12) if self.embeds_numbers else 0

    @property
    def n_inputs(self) -> int:
        """Width of the first dense layer's input."""
        numbers = self.n_numeric * (1 + self.n_mixtures)
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


def initial_weights(
    shape: NetworkShape, numbers: Floats, start: Floats, generator: torch.Generator
) -> Weights:
    """Random weights.

    The last bias is ``start`` ``(K,)`` and the last layer's weights are small; the ramps follow the scaled
    training ``numbers`` ``(n, F)``.
    """

    def normal(*size: int, scale: float) -> Tensor:
        return torch.randn(size, generator=generator) * scale

    weights: Weights = {}
    if shape.cardinalities:
        weights["embedding"] = normal(sum(shape.cardinalities), shape.embedding, scale=0.5)
    if shape.embeds_numbers:
        knot, slope = _ramps(numbers, shape.most_ramps)
        weights["knot"], weights["slope"] = torch.from_numpy(knot), torch.from_numpy(slope)
        size = (shape.n_numeric, N_FREQUENCIES)
        weights["frequency"] = normal(*size, scale=2 * math.pi * FREQUENCY_SCALE)
        weights["phase"] = (torch.rand(size, generator=generator) * 2 - 1) * math.pi
        n_basis = slope.shape[1] + N_FREQUENCIES
        weights["mix"] = normal(
            shape.n_numeric, n_basis, shape.n_mixtures, scale=1 / math.sqrt(N_FREQUENCIES)
        )
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
        columns = inputs.numbers.T[:, :, None]
        ramps = torch.clamp((columns - weights["knot"][:, None]) * weights["slope"][:, None], 0, 1)
        waves = torch.cos(columns * weights["frequency"][:, None] + weights["phase"][:, None])
        basis = torch.cat([ramps, waves], dim=2)
        parts.append(torch.bmm(basis, weights["mix"]).transpose(0, 1).flatten(1))
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
            parts.append(_build_number_embedding(graph, weights, numbers))
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


def _build_number_embedding(graph: GraphBuilder, weights: Mapping[str, Floats], numbers: str) -> str:
    column_major = graph.node("Transpose", numbers, perm=[1, 0])
    columns = graph.node("Unsqueeze", column_major, graph.constant(np.array([2], dtype=np.int64)))

    def per_column(name: str) -> str:
        return graph.constant(weights[name][:, None])

    lowest, highest = (graph.constant(np.array(bound, dtype=np.float32)) for bound in (0, 1))
    above = graph.node("Sub", columns, per_column("knot"))
    ramps = graph.node("Clip", graph.node("Mul", above, per_column("slope")), lowest, highest)
    turned = graph.node("Mul", columns, per_column("frequency"))
    waves = graph.node("Cos", graph.node("Add", turned, per_column("phase")))
    mixed = graph.node("MatMul", graph.node("Concat", ramps, waves, axis=2), graph.constant(weights["mix"]))
    row_major = graph.node("Transpose", mixed, perm=[1, 0, 2])
    # Flatten, not Reshape: a batch of no rows has no length to infer.
    return graph.node("Flatten", row_major, axis=1)


def n_layers(weights: Mapping[str, object]) -> int:
    """Number of dense layers."""
    return sum(name.startswith("bias") for name in weights)


def _ramps(numbers: Floats, most: int) -> tuple[Floats, Floats]:
    """Start and slope ``(F, P)`` of ramps from 0 to 1 between neighbouring knots; unused ones are 0."""
    knots = [_knots(numbers[:, column], most) for column in range(numbers.shape[1])]
    n_ramps = max(1, *(len(of_column) - 1 for of_column in knots))
    start = np.zeros((len(knots), n_ramps), dtype=np.float32)
    slope = np.zeros_like(start)
    for column, of_column in enumerate(knots):
        start[column, : len(of_column) - 1] = of_column[:-1]
        slope[column, : len(of_column) - 1] = 1 / np.diff(of_column)
    return start, slope


def _knots(values: Floats, most: int) -> Floats:
    """At most ``most + 1`` ascending knots: half by how often values occur, half by which ones do."""
    # On a grid: steeper ramps would magnify the last digits of float32, which differ between runtimes.
    gridded: Floats = (np.round(values * GRID) / GRID).astype(np.float32)
    distinct: Floats = np.unique(gridded).astype(np.float32)
    if len(distinct) <= most + 1:
        return distinct
    fractions = np.linspace(0, 1, most // 2 + 1)
    chosen = [np.quantile(rows, fractions, method="nearest") for rows in (gridded, distinct)]
    knots: Floats = np.unique(np.concatenate(chosen)).astype(np.float32)
    return knots
