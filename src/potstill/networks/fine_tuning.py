"""Fine-tuning of an encoder of BERT's kind, and its answers: batches of texts of one length, one schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.networks.bert import BertShape, Dropout, Encoded, Pooling, Weights, encoded, pooled, with_head
from potstill.networks.precision import half_precision
from potstill.types import Floats

Pieces: TypeAlias = NDArray[np.integer[Any]]
"""``(n, P)`` rows of the embedding table, filled up with 0."""

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Logits ``(n, K)`` of the rows ``(n,)`` to the loss to be lowered."""


class Guide(Protocol):
    """Another encoder that draws the one in training to it."""

    @property
    def wants_scores(self) -> bool:
        """Whether it looks at the scores of attention."""

    def loss(self, found: Encoded, texts: Tensor, pieces: Tensor, rows: Tensor) -> Tensor:
        """What is added to the loss for a batch.

        Parameters
        ----------
        found
            What the encoder makes of the batch.
        texts
            ``(n, H)`` vectors of its texts.
        pieces
            ``(n, P)`` its rows of the embedding table.
        rows
            ``(n,)`` which rows these are.
        """


BATCHES_SORTED = 20
"""So many batches' worth of shuffled texts are sorted by length together: few pieces are there to fill up."""

ROWS_AT_ONCE = 64
MOST_GRADIENT = 1.0
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Course:
    """How an encoder is fine-tuned: AdamW, linear warm-up, linear decay to 0.

    Parameters
    ----------
    epochs, batch_size, weight_decay, dropout
        The usual.
    learning_rate
        Of the last layer.
    layer_decay
        What the rate of each layer before is multiplied with; the embeddings come before the first.
    head_rate
        Learning rate of the head.
    warm_up
        Share of the training in which the rates rise.
    pooling
        How a text's vector is made.
    frozen
        Layers from the beginning that are left as they are, the embeddings too where it is not 0.
    time_limit_s
        Seconds that training may take: where the epochs would take longer, the schedule runs by the clock.
    stop_after
        Epochs after which training ends within the schedule; None for all of it.
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 1e-4
    layer_decay: float = 0.9
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    dropout: float = 0.1
    warm_up: float = 0.1
    pooling: Pooling = "mean"
    frozen: int = 0
    time_limit_s: float | None = None
    stop_after: int | None = None

    def done(self, epochs: float, seconds: float) -> float:
        """The fraction of training that is over: by epochs, or by the clock where that is further."""
        by_clock = 0.0 if self.time_limit_s is None else seconds / self.time_limit_s
        return min(1.0, max(epochs / self.epochs, by_clock))

    def factor(self, done: float) -> float:
        """What the rates are multiplied with after the fraction ``done`` of training."""
        if done < self.warm_up:
            return (done + 1e-3) / (self.warm_up + 1e-3)
        return (1 - done) / (1 - self.warm_up)


def fine_tuning(
    weights: Weights,
    shape: BertShape,
    pieces: Pieces,
    loss: Loss,
    *,
    course: Course,
    seed: int,
    guide: Guide | None = None,
) -> Iterator[float]:
    """Train ``weights`` in place; yield after each epoch what fraction of the training is over.

    Parameters
    ----------
    weights, shape
        The encoder with its head.
    pieces
        ``(n, P)`` of the rows to learn from.
    loss
        Of some of the rows.
    course
        How.
    seed
        Of the order and of the dropout.
    guide
        Whose loss is added.
    """
    dropout = Dropout(course.dropout, seed)
    rng = np.random.default_rng(seed)
    lengths = lengths_of(pieces)
    optimizer = _optimizer(weights, shape, course)
    rates = [group["lr"] for group in optimizer.param_groups]
    learnt = [weight for group in optimizer.param_groups for weight in group["params"]]
    steps = math.ceil(len(pieces) / course.batch_size)
    with_scores = guide is not None and guide.wants_scores
    begin, gone = time.monotonic(), 0.0
    for epoch in range(course.stop_after or course.epochs):
        for step, rows in enumerate(_batches(lengths, course.batch_size, rng)):
            gone = course.done(epoch + step / steps, time.monotonic() - begin)
            if gone >= 1.0:
                break
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * course.factor(gone)
            batch = _cut(pieces, rows, lengths)
            with half_precision():
                found = encoded(weights, shape, batch, dropout=dropout, with_scores=with_scores)
                texts = pooled(found.states[-1], batch, course.pooling)
                logits = with_head(dropout(texts), weights)
            chosen = torch.from_numpy(rows)
            total = loss(logits.float(), chosen)
            if guide is not None:
                total = total + guide.loss(found, texts.float(), batch, chosen)
            gradients = torch.autograd.grad(total, learnt)
            for weight, gradient in zip(learnt, gradients, strict=True):
                weight.grad = gradient
            torch.nn.utils.clip_grad_norm_(learnt, MOST_GRADIENT)
            optimizer.step()
        yield course.done(epoch + 1, time.monotonic() - begin)
        if gone >= 1.0:
            return


def answers(
    weights: Mapping[str, Tensor], shape: BertShape, pieces: Pieces, pooling: Pooling, *, exact: bool = True
) -> Floats:
    """``(n, K)`` float32 logits of texts; without a head their vectors ``(n, H)``.

    Parameters
    ----------
    weights, shape
        The encoder.
    pieces
        ``(n, P)``.
    pooling
        How a text's vector is made.
    exact
        In float32; otherwise in half precision where the machine is faster with it.
    """
    lengths = lengths_of(pieces)
    order = np.argsort(lengths, kind="stable")
    n_outputs = len(weights["logit_bias"]) if "logit_bias" in weights else shape.width
    out: Floats = np.zeros((len(pieces), n_outputs), dtype=np.float32)
    with torch.no_grad():
        for start in range(0, len(order), ROWS_AT_ONCE):
            rows = order[start : start + ROWS_AT_ONCE]
            batch = _cut(pieces, rows, lengths)
            with half_precision(wanted=not exact):
                texts = pooled(encoded(weights, shape, batch).states[-1], batch, pooling)
                if "logit_bias" in weights:
                    texts = with_head(texts, weights)
            out[rows] = texts.float().numpy()
    return out


def lengths_of(pieces: Pieces) -> NDArray[np.int64]:
    """``(n,)`` up to where each row is not only filled up, at least 1."""
    last = pieces.shape[1] - np.argmax(pieces[:, ::-1] != 0, axis=1)
    return np.where((pieces != 0).any(axis=1), last, 1).astype(np.int64)


def _cut(pieces: Pieces, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> Tensor:
    """The rows as one batch, as wide as the longest of them."""
    return torch.from_numpy(pieces[rows, : lengths[rows].max(initial=1)].astype(np.int64))


def _batches(lengths: NDArray[np.int64], size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Every row once, those of about one length together."""
    order = rng.permutation(len(lengths))
    for start in range(0, len(order), size * BATCHES_SORTED):
        some = order[start : start + size * BATCHES_SORTED]
        some = some[np.argsort(lengths[some], kind="stable")]
        batches = [some[at : at + size] for at in range(0, len(some), size)]
        for at in rng.permutation(len(batches)):
            yield batches[at]


def _optimizer(weights: Weights, shape: BertShape, course: Course) -> torch.optim.Optimizer:
    """AdamW over all that is not frozen; what is added or normalises does not decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in weights.items():
        depth = _depth(name, shape)
        if course.frozen and depth <= course.frozen:
            continue
        rate = course.learning_rate * course.layer_decay ** (shape.layers - depth)
        if name.startswith("logit"):
            rate = course.head_rate
        decay = course.weight_decay if weight.dim() == 2 and depth else 0.0
        groups.setdefault((rate, decay), []).append(weight.requires_grad_())
    parameters = [
        {"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()
    ]
    return torch.optim.AdamW(parameters, betas=BETAS, fused=True)


def _depth(name: str, shape: BertShape) -> int:
    """0 for embeddings, 1 for the first layer, …; the head counts as the last layer."""
    if name.startswith("logit"):
        return shape.layers
    digits = name[len(name.rstrip("0123456789")) :]
    return int(digits) + 1 if digits else 0
