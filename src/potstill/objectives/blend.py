"""Label and teacher in one loss, weighed row by row."""

from __future__ import annotations

import torch
from torch import Tensor

from potstill.types import Objective


def blended(
    objective: Objective,
    student_logits: Tensor,
    teacher_probs: Tensor,
    labels: Tensor,
    hard_weight: Tensor,
) -> Tensor:
    """``λ · hard + (1 − λ) · soft`` of each row, ``(n,)``.

    The hard loss is the cross-entropy of the label at temperature 1, or the squared error to it where labels
    are values. A row without a label counts with λ = 0 whatever ``hard_weight`` says.

    Parameters
    ----------
    objective
        The soft loss.
    student_logits
        ``(n, K)`` logits, or ``(n, 1)`` values.
    teacher_probs
        ``(n, K)`` at the objective's temperature, or values ``(n, 1)``.
    labels
        ``(n,)`` int64 class indices, -1 for none; or floating values, NaN for none.
    hard_weight
        ``(n,)`` λ in [0, 1].

    References
    ----------
    Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, section 2.
    """
    if labels.is_floating_point():
        labelled = ~torch.isnan(labels)
        hard = (student_logits[:, 0] - torch.where(labelled, labels, 0.0)).square()
        soft = objective.loss(student_logits, teacher_probs)
    else:
        labelled = labels >= 0
        hard = torch.nn.functional.cross_entropy(student_logits, labels.clamp_min(0), reduction="none")
        soft = objective.loss(student_logits, teacher_probs, labels=labels)
    weight = torch.where(labelled, hard_weight, 0.0)
    mixed: Tensor = weight * hard + (1 - weight) * soft
    return mixed
