"""Distillation by correlation: match the teacher's order and proportions, not its exact values."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from potstill.objectives.checks import require_positive, require_weight

SMALLEST_SCATTER = 1e-8
"""Added to every sum of squares and of products: two constant vectors then correlate perfectly."""


class DIST(msgspec.Struct, frozen=True):
    """``T² [β (1 − ρ over a row) + γ (1 − mean ρ over columns)]``, ρ Pearson's correlation of probabilities.

    The first term belongs to each row; the second is one number for the batch and is given to every row
    alike, so that the batch mean is the published loss. With two classes a row correlates perfectly or not at
    all: there the row term has no gradient and only the column term teaches.

    Parameters
    ----------
    beta, gamma
        Weights of the row term and of the column term, not negative.
    temperature
        ``T > 0``: the temperature of the teacher's probabilities, applied to the student as well.

    References
    ----------
    Huang et al. (2022), Knowledge Distillation from A Stronger Teacher, equations 6 to 10.
    """

    name: ClassVar[str] = "dist"

    beta: float = 1.0
    gamma: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("dist", "temperature", self.temperature)
        require_weight("dist", "beta", self.beta)
        require_weight("dist", "gamma", self.gamma)

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each row, ``(n,)``; arguments as in `potstill.objectives.KD.loss`."""
        student_probs = torch.softmax(student_logits / self.temperature, dim=1)
        over_rows = 1 - correlation(student_probs, teacher_probs, dim=1)
        over_columns = 1 - correlation(student_probs, teacher_probs, dim=0)
        return self.temperature**2 * (self.beta * over_rows + self.gamma * over_columns.mean())


def correlation(first: Tensor, second: Tensor, *, dim: int) -> Tensor:
    """Pearson's correlation along ``dim``, at most 1, and 1 for equal inputs even where they are constant."""
    a = first - first.mean(dim=dim, keepdim=True)
    b = second - second.mean(dim=dim, keepdim=True)
    shared = (a * b).sum(dim=dim) + SMALLEST_SCATTER
    scatter = (a.square().sum(dim=dim) + SMALLEST_SCATTER) * (b.square().sum(dim=dim) + SMALLEST_SCATTER)
    return shared / scatter.sqrt()
