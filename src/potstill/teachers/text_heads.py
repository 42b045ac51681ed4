"""Heads on the vectors of texts: logistic or linear regression, one or one a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potstill.types import Doubles, Floats, Labels, Task

FOLDS = 5

PENALTY = 1e-3
"""Of the squared weights of standardised vectors, against the mean loss of a row."""

_STEPS = 100


@dataclass(frozen=True, eq=False)
class Head:
    """Dense layers on the same vectors, the mean of whose answers counts.

    Parameters
    ----------
    weights
        ``(H, K)`` and ``(K,)`` of each.
    task
        What is predicted.
    center, spread
        Of a regression's values: the layers answer with standardised ones.
    """

    weights: Sequence[tuple[Floats, Floats]]
    task: Task
    center: float
    spread: float

    def answers(self, vectors: Floats) -> Floats:
        """Probabilities ``(n, K)``, or values ``(n, 1)``, of vectors ``(n, H)``."""
        each = [self._of(vectors @ matrix + bias) for matrix, bias in self.weights]
        return np.asarray(np.mean(each, axis=0), dtype=np.float32)

    def _of(self, scores: Floats) -> Doubles:
        if not self.task.is_classification:
            return np.asarray(scores * self.spread + self.center, dtype=np.float64)
        shifted = np.exp((scores - scores.max(axis=1, keepdims=True)).astype(np.float64))
        return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def cross_fitted_head(
    vectors: Floats, labels: Labels, weight: Doubles | None, task: Task, *, seed: int
) -> tuple[Head, Floats]:
    """A head of a layer a fold, and the answers ``(n, K)`` to each row of the layer that has not seen it.

    Parameters
    ----------
    vectors
        ``(n, H)``, at least two rows.
    labels, weight
        ``(n,)``; None where all weigh the same.
    task
        What is predicted.
    seed
        Of the folds.
    """
    center, spread = 0.0, 1.0
    if not task.is_classification:
        center, spread = float(np.mean(labels)), float(np.std(labels)) or 1.0
        labels = ((labels - center) / spread).astype(np.float64)
    targets, mass = targets_of(labels, task), mass_of(weight, len(labels))
    given = torch.from_numpy(vectors)
    fold = np.random.default_rng(seed).permutation(len(vectors)) % min(FOLDS, len(vectors))
    layers = []
    own: Floats = np.empty((len(vectors), task.n_outputs), dtype=np.float32)
    for held_out in range(int(fold.max()) + 1):
        kept = torch.from_numpy(np.flatnonzero(fold != held_out))
        matrix, bias = fitted_layer(given[kept], targets[kept], mass[kept])
        layers.append((matrix.numpy(), bias.numpy()))
        rows = fold == held_out
        own[rows] = Head(layers[-1:], task, center, spread).answers(vectors[rows])
    return Head(layers, task, center, spread), own


def fitted_layer(vectors: Tensor, targets: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """A dense layer ``(H, K)``, ``(K,)``: logistic or linear regression with a penalty.

    Parameters
    ----------
    vectors
        ``(n, H)``.
    targets
        As `targets_of` gives them.
    mass
        ``(n,)`` weights, mean 1.
    """
    center = vectors.mean(dim=0)
    scale = (vectors - center).std(correction=0) + 1e-6
    given = (vectors - center) / scale
    matrix = torch.zeros(vectors.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([matrix, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = (losses_of(given @ matrix + bias, targets) * mass).mean()
        total = total + PENALTY * matrix.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    folded = matrix.detach() / scale
    return folded, bias.detach() - center @ folded


def targets_of(labels: Labels, task: Task) -> Tensor:
    """``(n, K)`` one-hot labels, or ``(n, 1)`` values."""
    if not task.is_classification:
        return torch.from_numpy(labels.astype(np.float32))[:, None]
    return torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), task.n_outputs).float()


def mass_of(weight: Doubles | None, n_rows: int) -> Tensor:
    """``(n,)`` weights of mean 1."""
    return torch.ones(n_rows) if weight is None else torch.from_numpy(weight / weight.mean()).float()


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, or squared error, of each row."""
    if targets.shape[1] == 1:
        return (logits - targets).square().sum(dim=1)
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
