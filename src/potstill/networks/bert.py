"""The network of BERT's kind, in torch: word pieces in, a vector for each piece and for the text out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec
import torch
from torch import Tensor

from potstill.artifact.wordpiece import UNKNOWN

Weights: TypeAlias = dict[str, Tensor]
"""``word`` ``(V, H)`` a row a piece, ``position`` ``(P, H)`` and ``norm_scale``, ``norm_bias`` ``(H,)`` of
their sum. Of each layer i: ``attend{i}`` ``(H, 3 H)`` to queries, keys and values, ``mix{i}`` ``(H, H)`` of
what was attended to, ``widen{i}`` ``(H, W)`` and ``narrow{i}`` ``(W, H)``, each with its ``_bias``, and after
``mix`` and ``narrow`` the ``_scale`` and ``_shift`` of a normalisation. A head adds ``logit_weight``
``(H, K)`` and ``logit_bias`` ``(K,)``."""

Pooling: TypeAlias = Literal["mean", "first"]
"""The vector of a text: the mean of its pieces', or the first piece's."""

POOLED = 1 << 22
"""Numbers of the pool that masks of dropout are windows of."""

FAR = -1e9
"""Added to the scores of pieces that only fill up."""


class BertShape(msgspec.Struct, frozen=True):
    """Sizes of an encoder.

    Parameters
    ----------
    width
        H, the length of a piece's vector.
    layers, heads
        Layers, and heads of each one's attention.
    inner
        W, the width within a layer.
    pieces
        V, rows of the embedding table.
    positions
        Pieces of a text at most.
    epsilon
        Of the normalisations.
    """

    width: int
    layers: int
    heads: int
    inner: int
    pieces: int
    positions: int = 512
    epsilon: float = 1e-12


@dataclass(frozen=True, eq=False)
class Encoded:
    """What an encoder makes of some texts.

    Parameters
    ----------
    states
        Vectors ``(n, P, H)`` of the pieces: as they come in, and after each layer.
    scores
        ``(n, heads, P, P)`` of each layer, how much each piece attends to the others, before the softmax;
        empty where nobody asked.
    """

    states: list[Tensor]
    scores: list[Tensor] = field(default_factory=list)


class Dropout:
    """Leaves out a share of numbers while a network is trained.

    Drawing a mask takes as long as a product of matrices, so masks are windows of one pool that is drawn
    beforehand, by a generator of its own.

    Parameters
    ----------
    share
        What is left out, in [0, 1).
    seed
        Of the draws.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._kept = 1 - share
        self._generator = torch.Generator().manual_seed(seed)
        self._pool = self._drawn(POOLED) if share else None

    def __call__(self, values: Tensor) -> Tensor:
        """``values`` with some set to 0 and the others raised in proportion."""
        if self._pool is None:
            return values
        room = len(self._pool) - values.numel()
        if room < 0:
            return values * self._drawn(values.numel()).view(values.shape).to(values.dtype)
        start = int(torch.randint(room + 1, (1,), generator=self._generator))
        mask = self._pool[start : start + values.numel()].view(values.shape)
        return values * mask.to(values.dtype)

    def _drawn(self, size: int) -> Tensor:
        return torch.empty(size).bernoulli_(self._kept, generator=self._generator).div_(self._kept)


def initial_bert(shape: BertShape, generator: torch.Generator) -> Weights:
    """Random weights."""

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator) * 0.02

    width = shape.width
    weights = {"word": normal(shape.pieces, width), "position": normal(shape.positions, width)}
    weights |= {"norm_scale": torch.ones(width), "norm_shift": torch.zeros(width)}
    for i in range(shape.layers):
        sizes = {"attend": (width, 3 * width), "mix": (width, width)}
        sizes |= {"widen": (width, shape.inner), "narrow": (shape.inner, width)}
        for name, (n_in, n_out) in sizes.items():
            weights[f"{name}{i}"] = normal(n_in, n_out)
            weights[f"{name}_bias{i}"] = torch.zeros(n_out)
        for name in ("mix", "narrow"):
            weights[f"{name}_scale{i}"] = torch.ones(width)
            weights[f"{name}_shift{i}"] = torch.zeros(width)
    return weights


def rows_for(table: Tensor, known: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """The rows ``(V, H)`` of a ``table`` of the pieces ``known``, for those ``wanted``.

    A piece that is not known gets the row of an unknown word.
    """
    row = {piece: at for at, piece in enumerate(known)}
    return table[torch.tensor([row.get(piece, row[UNKNOWN]) for piece in wanted], dtype=torch.int64)]


def some_layers(weights: Mapping[str, Tensor], kept: Sequence[int]) -> Weights:
    """The network with only the layers ``kept``, in that order."""
    chosen: Weights = {}
    for name, weight in weights.items():
        stem = name.rstrip("0123456789")
        if stem == name:
            chosen[name] = weight
            continue
        for new, old in enumerate(kept):
            if name == f"{stem}{old}":
                chosen[f"{stem}{new}"] = weight
    return chosen


def spread_layers(layers: int, of: int) -> tuple[int, ...]:
    """Which ``layers`` of so many to keep: every other one, say, and always the last."""
    return tuple(round((i + 1) * of / layers) - 1 for i in range(layers))


def encoded(
    weights: Mapping[str, Tensor],
    shape: BertShape,
    pieces: Tensor,
    *,
    dropout: Dropout | None = None,
    with_scores: bool = False,
) -> Encoded:
    """What the encoder makes of texts.

    Parameters
    ----------
    weights, shape
        Of the network.
    pieces
        ``(n, P)`` int64 rows of the embedding table; 0 only fills up.
    dropout
        In training.
    with_scores
        Whether the scores of attention are wanted.
    """
    drop = dropout or Dropout(0.0, seed=0)
    far = torch.zeros(pieces.shape).masked_fill_(pieces == 0, FAR)[:, None, None, :]
    hidden = torch.nn.functional.embedding(pieces, weights["word"]) + weights["position"][: pieces.shape[1]]
    hidden = drop(_normalised(hidden, weights, shape, "norm_scale", "norm_shift"))
    found = Encoded([hidden])
    for i in range(shape.layers):
        query, key, value = _apart(_dense(hidden, weights, "attend", i), shape)
        scores = torch.matmul(query, key.transpose(2, 3)) / math.sqrt(query.shape[3]) + far
        shares = drop(torch.softmax(scores, dim=3))
        attended = torch.matmul(shares.to(value.dtype), value).transpose(1, 2).flatten(2)
        hidden = hidden + drop(_dense(attended, weights, "mix", i))
        hidden = _normalised(hidden, weights, shape, f"mix_scale{i}", f"mix_shift{i}")
        inner = torch.nn.functional.gelu(_dense(hidden, weights, "widen", i))
        hidden = hidden + drop(_dense(inner, weights, "narrow", i))
        hidden = _normalised(hidden, weights, shape, f"narrow_scale{i}", f"narrow_shift{i}")
        found.states.append(hidden)
        if with_scores:
            found.scores.append(scores)
    return found


def pooled(hidden: Tensor, pieces: Tensor, pooling: Pooling) -> Tensor:
    """Vectors ``(n, H)`` of the texts, from those of their pieces ``(n, P, H)``."""
    if pooling == "first":
        return hidden[:, 0]
    there = (pieces != 0).to(hidden.dtype)[:, :, None]
    return (hidden * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)


def with_head(texts: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """Logits ``(n, K)`` of the texts' vectors ``(n, H)``."""
    return torch.addmm(weights["logit_bias"], texts, weights["logit_weight"])


def _dense(values: Tensor, weights: Mapping[str, Tensor], name: str, layer: int) -> Tensor:
    return torch.nn.functional.linear(values, weights[f"{name}{layer}"].T, weights[f"{name}_bias{layer}"])


def _normalised(
    values: Tensor, weights: Mapping[str, Tensor], shape: BertShape, scale: str, shift: str
) -> Tensor:
    size = (shape.width,)
    return torch.nn.functional.layer_norm(values, size, weights[scale], weights[shift], shape.epsilon)


def _apart(projected: Tensor, shape: BertShape) -> tuple[Tensor, ...]:
    """Queries, keys and values ``(n, heads, P, H / heads)`` of ``(n, P, 3 H)``."""
    n_rows, n_pieces, _ = projected.shape
    return projected.view(n_rows, n_pieces, 3, shape.heads, -1).permute(2, 0, 3, 1, 4).unbind()
