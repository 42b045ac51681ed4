"""The network of `NGram` and `Static`, said twice: in torch and as ONNX nodes.

Each word has a vector, and so has, if wanted, each pair of neighbours by its hash. The vectors of a text are
added up, divided by the root of their number, put beside the numbers and categories of the row, and go
through dense layers with ReLU between them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from potstill.graph import GraphBuilder
from potstill.students.network import kind_of
from potstill.students.stored_weights import FEW, Storage, build_weight, quantized
from potstill.types import Floats, Ints

Weights: TypeAlias = dict[str, Tensor]
"""``words`` ``(R, D)`` and ``pairs`` ``(B + 1, P)``, of which row 0 is 0; in training ``word_gain`` ``(R,)``,
the logarithm of each word's weight; ``levels`` ``(L, E)`` of the categories; ``weight{i}`` ``(in, out)`` and
``bias{i}`` ``(out,)`` of each hidden layer, ``logit_weight`` ``(H, K)`` and ``logit_bias`` ``(K,)``."""

TABLES = ("words", "pairs", "levels")
"""Weights of which rows are looked up."""

NOTHING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Rows of the words' table: no word, an unknown one, then those that are known."""

_LEFT, _RIGHT = 1_000_003, 7_919
"""What the hash of a pair multiplies its two words with."""


@dataclass(frozen=True)
class BagShape:
    """Sizes of a network.

    Parameters
    ----------
    n_words
        R: rows of the words' table.
    word_dim
        D: length of a word's vector.
    n_buckets, pair_dim
        B: hashes of pairs, 0 for no pairs; P: length of a pair's vector.
    n_numbers
        Scaled numbers and indicators of missing ones.
    cardinalities, level_dim
        Level ids of each categorical column; length of a level's vector.
    hidden
        Widths of the hidden layers, maybe none.
    n_outputs
        Logits.
    """

    n_words: int
    word_dim: int
    n_buckets: int
    pair_dim: int
    n_numbers: int
    cardinalities: tuple[int, ...]
    level_dim: int
    hidden: tuple[int, ...]
    n_outputs: int

    @property
    def offsets(self) -> Ints:
        """``(C,)`` row of the levels' table where each column's levels begin."""
        return np.cumsum([0, *self.cardinalities], dtype=np.int64)[:-1]

    @property
    def n_inputs(self) -> int:
        """Width of the first dense layer's input."""
        pairs = self.pair_dim if self.n_buckets else 0
        return self.word_dim + pairs + self.n_numbers + len(self.cardinalities) * self.level_dim


@dataclass(frozen=True)
class BagInputs:
    """Rows as the network takes them.

    Parameters
    ----------
    words
        ``(n, T)`` int64 rows of the words' table.
    numbers
        ``(n, F)`` scaled, and indicators.
    levels
        ``(n, C)`` int64 rows of the levels' table.
    """

    words: Tensor
    numbers: Tensor
    levels: Tensor

    def __len__(self) -> int:
        return len(self.words)

    def take(self, rows: Tensor) -> BagInputs:
        """The rows at ``rows``, no wider than the longest of these texts."""
        words = self.words.index_select(0, rows)
        used = torch.nonzero((words != NOTHING).any(dim=0))
        width = int(used.max()) + 1 if len(used) else 1
        return BagInputs(
            words[:, :width], self.numbers.index_select(0, rows), self.levels.index_select(0, rows)
        )


def initial_weights(shape: BagShape, start: Floats, generator: torch.Generator) -> Weights:
    """Random weights; the last bias is ``start`` ``(K,)``."""

    def normal(*size: int, scale: float) -> Tensor:
        return torch.randn(size, generator=generator) * scale

    weights: Weights = {
        "words": normal(shape.n_words, shape.word_dim, scale=0.1),
        "word_gain": torch.zeros(shape.n_words),
    }
    weights["words"][NOTHING] = 0
    if shape.n_buckets:
        weights["pairs"] = normal(shape.n_buckets + 1, shape.pair_dim, scale=0.01)
        weights["pairs"][NOTHING] = 0
    if shape.cardinalities:
        weights["levels"] = normal(sum(shape.cardinalities), shape.level_dim, scale=0.5)
    widths = [shape.n_inputs, *shape.hidden]
    for i, (n_in, n_out) in enumerate(zip(widths, shape.hidden, strict=False)):
        weights[f"weight{i}"] = normal(n_in, n_out, scale=1 / math.sqrt(n_in))
        weights[f"bias{i}"] = torch.zeros(n_out)
    weights["logit_weight"] = normal(widths[-1], shape.n_outputs, scale=0.3 / math.sqrt(widths[-1]))
    weights["logit_bias"] = torch.from_numpy(start.copy())
    return weights


def forward(
    weights: Mapping[str, Tensor],
    inputs: BagInputs,
    *,
    dropout: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Logits ``(n, K)``; ``dropout`` is the part of each dense layer's inputs that is left out."""
    gain = torch.exp(weights["word_gain"][inputs.words]) if "word_gain" in weights else None
    parts = [_pooled(weights["words"], inputs.words, gain)]
    if "pairs" in weights:
        parts.append(_pooled(weights["pairs"], pair_rows(inputs.words, len(weights["pairs"]) - 1)))
    if inputs.numbers.shape[1]:
        parts.append(inputs.numbers)
    if "levels" in weights:
        parts.append(torch.nn.functional.embedding(inputs.levels, weights["levels"]).flatten(1))
    hidden = torch.cat(parts, dim=1)
    for i in range(n_hidden(weights)):
        hidden = _dropped(hidden, dropout, generator)
        hidden = torch.relu(torch.addmm(weights[f"bias{i}"], hidden, weights[f"weight{i}"]))
    hidden = _dropped(hidden, dropout, generator)
    return torch.addmm(weights["logit_bias"], hidden, weights["logit_weight"])


def pair_rows(words: Tensor, n_buckets: int) -> Tensor:
    """``(n, T)`` rows of the pairs' table: each word and the one before it, 0 where one of them is missing.

    Before the first word stands one that no other text has within.
    """
    before = torch.cat([torch.full_like(words[:, :1], -1), words[:, :-1]], dim=1)
    there = (words != NOTHING) & (before != NOTHING)
    return (torch.remainder(before * _LEFT + words * _RIGHT, n_buckets) + 1) * there


def folded(weights: Weights) -> Weights:
    """The network as it answers: the words' weights within their vectors."""
    left = {name: weight for name, weight in weights.items() if name != "word_gain"}
    left["words"] = weights["words"] * torch.exp(weights["word_gain"])[:, None]
    return left


def n_hidden(weights: Mapping[str, object]) -> int:
    """Number of hidden layers."""
    return sum(kind_of(name) == "bias" for name in weights)


def stored(name: str, storage: Storage) -> Storage:
    """How a file of ``storage`` keeps the weight called ``name``: tables are most of it."""
    if name in TABLES:
        return storage
    return "float32" if "bias" in name else "float16"


def build_network(
    graph: GraphBuilder,
    weights: Mapping[str, Floats],
    *,
    storage: Storage,
    words: str,
    numbers: str | None,
    levels: str | None,
) -> str:
    """Add the nodes of `forward` for `folded` weights; ``words`` are rows, of the others None is empty."""
    parts = [_build_pooled(graph, weights["words"], words, storage)]
    if "pairs" in weights:
        pairs = _build_pair_rows(graph, words, len(weights["pairs"]) - 1)
        parts.append(_build_pooled(graph, weights["pairs"], pairs, storage))
    if numbers is not None:
        parts.append(numbers)
    if levels is not None:
        table = build_weight(graph, weights["levels"], storage)
        parts.append(graph.node("Flatten", graph.node("Gather", table, levels), axis=1))
    hidden = parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)
    for name in (*(str(i) for i in range(n_hidden(weights))), "logit"):
        weight, bias = ("logit_weight", "logit_bias") if name == "logit" else (f"weight{name}", f"bias{name}")
        constants = [build_weight(graph, weights[part], stored(part, storage)) for part in (weight, bias)]
        hidden = graph.node("Gemm", hidden, *constants)
        if name != "logit":
            hidden = graph.node("Relu", hidden)
    return hidden


def _pooled(table: Tensor, rows: Tensor, gain: Tensor | None = None) -> Tensor:
    """``(n, D)``: the sum of rows ``(n, T)`` of a table, each times its gain, by the root of their number."""
    weight = torch.ones(rows.shape) if gain is None else gain
    added = torch.nn.functional.embedding_bag(
        rows, table, mode="sum", per_sample_weights=weight, padding_idx=NOTHING
    )
    return added / torch.sqrt((rows != NOTHING).sum(dim=1, keepdim=True) + 1)


def _dropped(hidden: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
    if not dropout:
        return hidden
    kept = torch.empty_like(hidden).bernoulli_(1 - dropout, generator=generator)
    return hidden * kept / (1 - dropout)


def _build_pooled(graph: GraphBuilder, table: Floats, rows: str, storage: Storage) -> str:
    """Add the nodes of `_pooled`; rows of whole numbers are made float32 one by one, not the whole table."""
    scale = None
    if storage == "float32" or table.size < FEW:
        found = graph.node("Gather", graph.constant(table), rows)
    else:
        if storage == "int8":
            whole, scale = quantized(table)
            kept = graph.constant(whole)
        else:
            kept = graph.constant(table.astype(np.float16))
        found = graph.node("Cast", graph.node("Gather", kept, rows), to=TensorProto.FLOAT)
    axis = graph.constant(np.array([1], dtype=np.int64))
    added = graph.node("ReduceSum", found, axis, keepdims=0)
    there = graph.node("Cast", graph.node("Cast", rows, to=TensorProto.BOOL), to=TensorProto.FLOAT)
    number = graph.node("ReduceSum", there, axis, keepdims=1)
    root = graph.node("Sqrt", graph.node("Add", number, graph.constant(np.ones(1, dtype=np.float32))))
    mean = graph.node("Div", added, root)
    return mean if scale is None else graph.node("Mul", mean, graph.constant(scale))


def _build_pair_rows(graph: GraphBuilder, words: str, n_buckets: int) -> str:
    """Add the nodes of `pair_rows`."""

    def whole(*values: int) -> str:
        return graph.constant(np.array(values, dtype=np.int64))

    shifted = graph.node("Pad", words, whole(0, 1, 0, 0), whole(-1))
    before = graph.node("Slice", shifted, whole(0), whole(-1), whole(1))
    both = graph.node("Mul", before, words)
    there = graph.node("Cast", graph.node("Cast", both, to=TensorProto.BOOL), to=TensorProto.INT64)
    hashed = graph.node(
        "Add", graph.node("Mul", before, whole(_LEFT)), graph.node("Mul", words, whole(_RIGHT))
    )
    rows = graph.node("Add", graph.node("Mod", hashed, whole(n_buckets)), whole(1))
    return graph.node("Mul", rows, there)
