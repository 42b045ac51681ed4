"""The network of `MLP` and `TabM`, said twice: in torch and as ONNX nodes.

Scaled numbers with their embeddings, missing-value indicators and embedded categories side by side, each
under a learnt scale, then dense layers with ReLU between them. With heads, every head sees these inputs under
signs and scales of its own, shares the hidden layers with the others, and has logits of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from potstill.graph import GraphBuilder
from potstill.students.stored_weights import Storage, build_weight
from potstill.types import Floats, Ints

Weights: TypeAlias = dict[str, Tensor]
"""``weight{i}`` ``(in, out)`` and ``bias{i}`` ``(out,)`` of each hidden layer, ``logit_weight`` ``(H, K)``
and ``logit_bias`` ``(K,)`` of the last; with categories ``embedding`` ``(levels, E)``; with embeddings of
numbers ``knot`` and ``slope`` ``(E, P)`` of their ramps, ``frequency`` and ``phase`` ``(E, W)`` of their
waves and ``mix`` ``(E, P + W, D)``. In training ``scale`` ``(in,)`` of the first layer's inputs. With k heads
``adapter`` ``(k, in)`` scales these inputs head by head, and in training the last layer's weights have a
first axis of k."""

COARSE = ("weight", "logit_weight", "mix", "embedding")
"""Kinds of weight that may be kept as whole numbers; other tables are kept as float16 then."""

PLAIN = ("bias", "logit_bias")
"""Kinds of weight that are always kept as float32: they are few."""

N_WAVES = 16
FREQUENCY = 0.1
"""Spread of the waves' frequencies before training, in waves to a unit of the scaled number."""

MOST_RAMPS = 96
"""Ramps of a number at most."""

GRID = np.float32(512)


@dataclass(frozen=True)
class NetworkShape:
    """Sizes of a network.

    Parameters
    ----------
    n_numeric, n_indicators
        Columns of scaled numbers and of missing-value indicators.
    n_embedded
        Scaled numbers that have an embedding.
    cardinalities
        Level ids of each categorical column.
    embedding
        Length of a category's embedding.
    hidden
        Widths of the hidden layers.
    n_outputs
        Logits.
    n_heads
        Heads that share the hidden layers; None for one network without adapters.
    """

    n_numeric: int
    n_indicators: int
    n_embedded: int
    cardinalities: tuple[int, ...]
    embedding: int
    hidden: tuple[int, ...]
    n_outputs: int
    n_heads: int | None = None

    @property
    def offsets(self) -> Ints:
        """``(C,)`` row of the embedding table where each column's levels begin."""
        return np.cumsum([0, *self.cardinalities], dtype=np.int64)[:-1]

    @property
    def most_ramps(self) -> int:
        """Ramps of a number at most: few columns can afford a finer grid than many."""
        return min(max(768 // self.n_embedded, 16), MOST_RAMPS)

    @property
    def n_mixtures(self) -> int:
        """Length of a number's embedding, itself not counted."""
        return min(max(96 // self.n_embedded, 3), 12) if self.n_embedded else 0

    @property
    def n_inputs(self) -> int:
        """Width of the first dense layer's input."""
        numbers = self.n_numeric + self.n_embedded * self.n_mixtures
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
    embedded
        ``(E,)`` int64 columns of ``numbers`` that have an embedding.
    """

    numbers: Tensor
    indicators: Tensor
    levels: Tensor
    embedded: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: Tensor) -> Inputs:
        """The rows at ``rows``."""
        return Inputs(
            numbers=self.numbers.index_select(0, rows),
            indicators=self.indicators.index_select(0, rows) if self.indicators.shape[1] else self.indicators,
            levels=self.levels.index_select(0, rows) if self.levels.shape[1] else self.levels,
            embedded=self.embedded,
        )


def initial_weights(
    shape: NetworkShape, numbers: Floats, start: Floats, generator: torch.Generator
) -> Weights:
    """Random weights.

    The last bias is ``start`` ``(K,)`` and the last layer's weights are small; the ramps follow the scaled
    training ``numbers`` ``(n, E)`` that have an embedding.
    """

    def normal(*size: int, scale: float) -> Tensor:
        return torch.randn(size, generator=generator) * scale

    weights: Weights = {}
    if shape.cardinalities:
        weights["embedding"] = normal(sum(shape.cardinalities), shape.embedding, scale=0.5)
    if shape.n_embedded:
        knot, slope = _ramps(numbers, shape.most_ramps)
        weights["knot"], weights["slope"] = torch.from_numpy(knot), torch.from_numpy(slope)
        size = (shape.n_embedded, N_WAVES)
        weights["frequency"] = normal(*size, scale=2 * math.pi * FREQUENCY)
        weights["phase"] = (torch.rand(size, generator=generator) * 2 - 1) * math.pi
        n_basis = slope.shape[1] + N_WAVES
        weights["mix"] = normal(shape.n_embedded, n_basis, shape.n_mixtures, scale=1 / math.sqrt(N_WAVES))
    weights["scale"] = torch.ones(shape.n_inputs)
    if shape.n_heads is not None:
        signs = torch.randint(0, 2, (shape.n_heads, shape.n_inputs), generator=generator)
        weights["adapter"] = 2.0 * signs - 1.0
    widths = [shape.n_inputs, *shape.hidden]
    for i, (n_in, n_out) in enumerate(zip(widths, shape.hidden, strict=False)):
        weights[f"weight{i}"] = normal(n_in, n_out, scale=1 / math.sqrt(n_in))
        weights[f"bias{i}"] = normal(n_out, scale=0.1)
    heads = () if shape.n_heads is None else (shape.n_heads,)
    weights["logit_weight"] = normal(*heads, widths[-1], shape.n_outputs, scale=0.3 / math.sqrt(widths[-1]))
    weights["logit_bias"] = torch.from_numpy(start.copy()).expand(*heads, -1).clone()
    return weights


def forward(weights: Mapping[str, Tensor], inputs: Inputs, *, masks: Sequence[Tensor] = ()) -> Tensor:
    """Logits ``(n, K)``; with heads that were not `folded`, ``(k, n, K)``.

    ``masks``, one ``(n or n · k, width)`` for each hidden layer or none, multiply its units.
    """
    parts = [inputs.numbers]
    if "mix" in weights:
        columns = inputs.numbers.T.index_select(0, inputs.embedded)[:, :, None]
        ramps = torch.clamp((columns - weights["knot"][:, None]) * weights["slope"][:, None], 0, 1)
        waves = torch.cos(columns * weights["frequency"][:, None] + weights["phase"][:, None])
        basis = torch.cat([ramps, waves], dim=2)
        parts.append(torch.bmm(basis, weights["mix"]).transpose(0, 1).flatten(1))
    if inputs.indicators.shape[1]:
        parts.append(inputs.indicators)
    if "embedding" in weights:
        parts.append(torch.nn.functional.embedding(inputs.levels, weights["embedding"]).flatten(1))
    hidden = torch.cat(parts, dim=1)
    if "scale" in weights:
        hidden = hidden * weights["scale"]
    if "adapter" in weights:
        hidden = (hidden[:, None] * weights["adapter"]).flatten(0, 1)
    for i in range(n_hidden(weights)):
        hidden = torch.relu_(torch.addmm(weights[f"bias{i}"], hidden, weights[f"weight{i}"]))
        if masks:
            hidden = hidden * masks[i]
    if weights["logit_weight"].dim() == 2:
        hidden = hidden.view(len(inputs), len(weights["logit_weight"]))
        return torch.addmm(weights["logit_bias"], hidden, weights["logit_weight"])
    hidden = hidden.view(len(inputs), len(weights["adapter"]), -1).transpose(0, 1)
    return torch.baddbmm(weights["logit_bias"][:, None], hidden, weights["logit_weight"])


def with_heads(weights: Weights, heads: Tensor) -> Weights:
    """Only the heads at ``heads``."""
    per_head = ("adapter", "logit_weight", "logit_bias")
    return {name: weight[heads] if name in per_head else weight for name, weight in weights.items()}


def folded(weights: Weights) -> Weights:
    """The network as it answers: the inputs' scale within the first layer, the heads' mean within the last.

    The mean of the heads' logits is one dense layer over the hidden units of all heads side by side.
    """
    left = {name: weight for name, weight in weights.items() if name != "scale"}
    left["weight0"] = weights["scale"][:, None] * weights["weight0"]
    if "adapter" in weights:
        left["logit_weight"] = (weights["logit_weight"] / len(weights["adapter"])).flatten(0, 1)
        left["logit_bias"] = weights["logit_bias"].mean(dim=0)
    return left


def stored(name: str, storage: Storage) -> Storage:
    """How a file of ``storage`` keeps the weight called ``name``."""
    kind = kind_of(name)
    if kind in PLAIN:
        return "float32"
    return "float16" if storage == "int8" and kind not in COARSE else storage


def kind_of(name: str) -> str:
    """The name without the number of the layer."""
    return name.rstrip("0123456789")


def build_network(
    graph: GraphBuilder,
    weights: Mapping[str, Floats],
    *,
    storage: Storage,
    numbers: str | None,
    detailed: str | None,
    indicators: str | None,
    levels: str | None,
) -> str:
    """Add the nodes of `forward` for `folded` weights; inputs are given by name, None for empty ones.

    ``detailed`` are those of the ``numbers`` that have an embedding.
    """

    def constant(name: str) -> str:
        return build_weight(graph, weights[name], stored(name, storage))

    parts = []
    if numbers is not None:
        parts.append(numbers)
        if detailed is not None and "mix" in weights:
            parts.append(_build_number_embedding(graph, constant, detailed))
    if indicators is not None:
        parts.append(indicators)
    if levels is not None:
        embedded = graph.node("Gather", constant("embedding"), levels)
        parts.append(graph.node("Flatten", embedded, axis=1))
    hidden = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    if "adapter" in weights:
        # (n, in) to (n, k, in); a batch of no rows has no length to infer, so no Reshape.
        apart = graph.node("Unsqueeze", hidden, graph.constant(np.array([1], dtype=np.int64)))
        hidden = graph.node("Mul", apart, constant("adapter"))
    for i in range(n_hidden(weights)):
        weight, bias = constant(f"weight{i}"), constant(f"bias{i}")
        hidden = _build_dense(graph, hidden, weight, bias, has_heads="adapter" in weights)
        hidden = graph.node("Relu", hidden)
    if "adapter" in weights:
        hidden = graph.node("Flatten", hidden, axis=1)
    return graph.node("Gemm", hidden, constant("logit_weight"), constant("logit_bias"))


def _build_dense(graph: GraphBuilder, hidden: str, weight: str, bias: str, *, has_heads: bool) -> str:
    if not has_heads:
        return graph.node("Gemm", hidden, weight, bias)
    return graph.node("Add", graph.node("MatMul", hidden, weight), bias)


def _build_number_embedding(graph: GraphBuilder, constant: Callable[[str], str], numbers: str) -> str:
    column_major = graph.node("Transpose", numbers, perm=[1, 0])
    columns = graph.node("Unsqueeze", column_major, graph.constant(np.array([2], dtype=np.int64)))
    second = graph.constant(np.array([1], dtype=np.int64))

    def per_column(name: str) -> str:
        return graph.node("Unsqueeze", constant(name), second)

    lowest, highest = (graph.constant(np.array(bound, dtype=np.float32)) for bound in (0, 1))
    above = graph.node("Sub", columns, per_column("knot"))
    ramps = graph.node("Clip", graph.node("Mul", above, per_column("slope")), lowest, highest)
    turned = graph.node("Mul", columns, per_column("frequency"))
    waves = graph.node("Cos", graph.node("Add", turned, per_column("phase")))
    mixed = graph.node("MatMul", graph.node("Concat", ramps, waves, axis=2), constant("mix"))
    row_major = graph.node("Transpose", mixed, perm=[1, 0, 2])
    # Flatten, not Reshape: a batch of no rows has no length to infer.
    return graph.node("Flatten", row_major, axis=1)


def n_hidden(weights: Mapping[str, object]) -> int:
    """Number of hidden layers."""
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
