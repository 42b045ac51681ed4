"""Which heads of a trained `TabM` are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from potstill.students.network import Weights
from potstill.students.network_training import Judge, averaged_logits


def best_heads(weights: Weights, judge: Judge | None, *, kept: int) -> Tensor:
    """``(kept,)`` int64 heads that answer best together, found one after the other.

    Without validation rows the first ones: before training no head is better than another.
    """
    trained = len(weights["adapter"])
    if judge is None or kept >= trained:
        return torch.arange(min(kept, trained))
    logits = judge.logits(weights)
    chosen: list[int] = []
    while len(chosen) < kept:
        left = [head for head in range(trained) if head not in chosen]
        losses = [float(judge.loss_of(averaged_logits(logits[[*chosen, head]]))) for head in left]
        chosen.append(left[losses.index(min(losses))])
    return torch.tensor(sorted(chosen))
