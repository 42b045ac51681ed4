"""Heads on the vectors of texts: logistic or linear regression, one or one a fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from potstill.networks.dense_head import fitted_layer
from potstill.teachers.lessons import mass_of, targets_of
from potstill.teachers.zoo_member import Scale
from potstill.types import Doubles, Floats, Labels, Task

FOLDS = 5


@dataclass(frozen=True, eq=False)
class Head:
    """Dense layers on the same vectors, the mean of whose answers counts.

    Parameters
    ----------
    weights
        ``(H, K)`` and ``(K,)`` of each.
    scale
        What their answers mean.
    """

    weights: Sequence[tuple[Floats, Floats]]
    scale: Scale

    def answers(self, vectors: Floats) -> Floats:
        """Probabilities ``(n, K)``, or values ``(n, 1)``, of vectors ``(n, H)``."""
        each = [self.scale.of_logits(vectors @ matrix + bias) for matrix, bias in self.weights]
        return np.asarray(np.mean(each, axis=0), dtype=np.float32)


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
    scale = Scale.of(labels, task, whole=True)
    targets, mass = targets_of(scale.own(labels), task), mass_of(weight, len(labels))
    given = torch.from_numpy(vectors)
    fold = np.random.default_rng(seed).permutation(len(vectors)) % min(FOLDS, len(vectors))
    layers = []
    own: Floats = np.empty((len(vectors), task.n_outputs), dtype=np.float32)
    for held_out in range(int(fold.max()) + 1):
        kept = torch.from_numpy(np.flatnonzero(fold != held_out))
        matrix, bias = fitted_layer(given[kept], targets[kept], mass[kept])
        layers.append((matrix.numpy(), bias.numpy()))
        rows = fold == held_out
        own[rows] = Head(layers[-1:], scale).answers(vectors[rows])
    return Head(layers, scale), own
