"""What networks of the default ensembles are taught, and what their answers mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from potstill.teachers.answers import softmax
from potstill.types import Doubles, Floats, Labels, Task


@dataclass(frozen=True)
class Unit:
    """Between the values of a regression and the standardised ones that a network learns; idle for classes.

    Parameters
    ----------
    task
        What is predicted.
    center, spread
        ``value = center + spread * standardised``.
    """

    task: Task
    center: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, labels: Labels, task: Task) -> Unit:
        """The unit in which ``labels`` have mean 0 and standard deviation 1."""
        if task.is_classification:
            return cls(task)
        return cls(task, float(np.mean(labels)), float(np.std(labels)) or 1.0)

    def own(self, labels: Labels) -> Labels:
        """Labels as the network learns them."""
        if self.task.is_classification:
            return labels
        return ((labels - self.center) / self.spread).astype(np.float64)

    def answers(self, logits: Floats) -> Floats:
        """``(n, K)`` probabilities of logits, or ``(n, 1)`` values of standardised ones."""
        if not self.task.is_classification:
            return (logits * self.spread + self.center).astype(np.float32)
        return softmax(logits.astype(np.float64)).astype(np.float32)


def targets_of(labels: Labels, task: Task, *, smoothing: float = 0.0) -> Tensor:
    """``(n, K)`` one-hot labels, mixed with the uniform distribution, or ``(n, 1)`` values."""
    if not task.is_classification:
        return torch.from_numpy(labels.astype(np.float32))[:, None]
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), task.n_outputs).float()
    return (1 - smoothing) * one_hot + smoothing / task.n_outputs


def mass_of(weight: Doubles | None, n_rows: int) -> Tensor:
    """``(n,)`` weights of mean 1."""
    return torch.ones(n_rows) if weight is None else torch.from_numpy(weight / weight.mean()).float()


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, or squared error, of each row."""
    if targets.shape[1] == 1:
        return (logits - targets).square().sum(dim=1)
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
