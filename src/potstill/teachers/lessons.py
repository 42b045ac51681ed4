"""What networks of the default ensembles are taught."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from potstill.types import Doubles, Labels, Task


def targets_of(labels: Labels, task: Task, *, smoothing: float = 0.0) -> Tensor:
    """``(n, K)`` one-hot labels, mixed with the uniform distribution, or ``(n, 1)`` values."""
    if not task.is_classification:
        return torch.from_numpy(labels.astype(np.float32))[:, None]
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(labels.astype(np.int64)), task.n_outputs).float()
    return (1 - smoothing) * one_hot + smoothing / task.n_outputs


def mass_of(weight: Doubles | None, n_rows: int) -> Tensor:
    """``(n,)`` weights of mean 1."""
    return torch.ones(n_rows) if weight is None else torch.from_numpy(weight / weight.mean()).float()
