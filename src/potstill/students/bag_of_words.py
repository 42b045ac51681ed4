"""The network of `NGram` and `Static`, said twice: in torch and as ONNX nodes.

Each word has a vector, and so has, if wanted, each pair of neighbours by its hash. The vectors of a text are
added up and divided by the root of their number. If wanted, units look at a few words in a row, and each
gives its largest answer in the text. All that is put beside the numbers and categories of the row, and goes
through dense layers with ReLU between them.

References
----------
Kim (2014), Convolutional Neural Networks for Sentence Classification (the units that look at words in a row).
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
the logarithm of each word's weight; ``levels`` ``(L, E)`` of the categories; ``window`` ``(U, D · w)`` and
``window_bias`` ``(U,)`` of the units that look at w words; ``weight{i}`` ``(in, out)`` and ``bias{i}``
``(out,)`` of each hidden layer, ``logit_weight`` ``(H, K)`` and ``logit_bias`` ``(K,)``."""

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
    window, n_units
        w: words in a row that units look at, an odd number; U: units, 0 for none.
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
    window: int
    n_units: int
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
        levels = len(self.cardinalities) * self.level_dim
        return self.word_dim + pairs + self.n_units + self.n_numbers + levels


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
    if shape.n_units:
        seen = shape.word_dim * shape.window
        weights["window"] = normal(shape.n_units, seen, scale=1 / math.sqrt(seen))
        weights["window_bias"] = torch.zeros(shape.n_units)
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
    parts = []
    if "window" in weights:
        vectors = torch.nn.functional.embedding(inputs.words, weights["words"], padding_idx=NOTHING)
        vectors = vectors if gain is None else vectors * gain[:, :, None]
        parts += [_mean(vectors.sum(dim=1), inputs.words), _windows(weights, vectors, inputs.words)]
    else:
        parts.append(_pooled(weights["words"], inputs.words, gain))
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
    vectors = _build_rows(graph, weights["words"], words, storage)
    parts = [_build_mean(graph, vectors, words)]
    if "window" in weights:
        parts.append(_build_windows(graph, weights, vectors, words, storage))
    if "pairs" in weights:
        pairs = _build_pair_rows(graph, words, len(weights["pairs"]) - 1)
        parts.append(_build_mean(graph, _build_rows(graph, weights["pairs"], pairs, storage), pairs))
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
    return _mean(added, rows)


def _mean(added: Tensor, rows: Tensor) -> Tensor:
    return added / torch.sqrt((rows != NOTHING).sum(dim=1, keepdim=True) + 1)


def _windows(weights: Mapping[str, Tensor], vectors: Tensor, rows: Tensor) -> Tensor:
    """``(n, U)``: the largest answer of each unit, of vectors ``(n, T, D)``; at least 0."""
    kernel = weights["window"].view(len(weights["window"]), vectors.shape[2], -1)
    answers = torch.nn.functional.conv1d(
        vectors.transpose(1, 2), kernel, weights["window_bias"], padding=kernel.shape[2] // 2
    )
    return (torch.relu(answers) * (rows != NOTHING)[:, None]).amax(dim=2).float()


def _dropped(hidden: Tensor, dropout: float, generator: torch.Generator | None) -> Tensor:
    if not dropout:
        return hidden
    kept = torch.empty_like(hidden).bernoulli_(1 - dropout, generator=generator)
    return hidden * kept / (1 - dropout)


def _build_rows(graph: GraphBuilder, table: Floats, rows: str, storage: Storage) -> str:
    """Add the nodes that look up rows; those of whole numbers are made float32 one by one."""
    if storage == "float32" or table.size < FEW:
        return graph.node("Gather", graph.constant(table), rows)
    if storage == "float16":
        found = graph.node("Gather", graph.constant(table.astype(np.float16)), rows)
        return graph.node("Cast", found, to=TensorProto.FLOAT)
    whole, scale = quantized(table)
    found = graph.node("Cast", graph.node("Gather", graph.constant(whole), rows), to=TensorProto.FLOAT)
    return graph.node("Mul", found, graph.constant(scale))


def _build_mean(graph: GraphBuilder, vectors: str, rows: str) -> str:
    """Add the nodes from vectors ``(n, T, D)`` to their sum by the root of their number, ``(n, D)``."""
    axis = graph.constant(np.array([1], dtype=np.int64))
    added = graph.node("ReduceSum", vectors, axis, keepdims=0)
    number = graph.node("ReduceSum", _build_there(graph, rows), axis, keepdims=1)
    one = graph.constant(np.ones(1, dtype=np.float32))
    return graph.node("Div", added, graph.node("Sqrt", graph.node("Add", number, one)))


def _build_windows(
    graph: GraphBuilder, weights: Mapping[str, Floats], vectors: str, rows: str, storage: Storage
) -> str:
    """Add the nodes of `_windows`."""
    units, seen = weights["window"].shape
    dim = weights["words"].shape[1]
    flat = build_weight(graph, weights["window"], stored("window", storage))
    kernel = graph.node("Reshape", flat, graph.constant(np.array([units, dim, seen // dim], dtype=np.int64)))
    reach = seen // dim // 2
    columns = graph.node("Transpose", vectors, perm=[0, 2, 1])
    bias = graph.constant(weights["window_bias"])
    answers = graph.node("Relu", graph.node("Conv", columns, kernel, bias, pads=[reach, reach]))
    second = graph.constant(np.array([1], dtype=np.int64))
    there = graph.node("Unsqueeze", _build_there(graph, rows), second)
    last = graph.constant(np.array([2], dtype=np.int64))
    return graph.node("ReduceMax", graph.node("Mul", answers, there), last, keepdims=0)


def _build_there(graph: GraphBuilder, rows: str) -> str:
    """Add the nodes from rows ``(n, T)`` to 1 where there is one, else 0."""
    return graph.node("Cast", graph.node("Cast", rows, to=TensorProto.BOOL), to=TensorProto.FLOAT)


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
