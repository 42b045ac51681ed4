"""Decoupled distillation: the target class and the others weighed apart."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from potstill.objectives.checks import require_positive, require_weight
from potstill.objectives.kd import kl_divergence


class DKD(msgspec.Struct, frozen=True):
    """``T² [α KL(b_T ‖ b_S) + β KL(p̂_T ‖ p̂_S)]``: target against the rest, and the rest among themselves.

    ``b = [p_y, 1 − p_y]`` and ``p̂`` the other classes' probabilities rescaled to sum 1. With ``α = 1`` and
    ``β = 1 − p_y`` (the teacher's) it is `KD`. With two classes the second term is 0.

    Parameters
    ----------
    alpha, beta
        Weights of the two terms, not negative.
    temperature
        ``T > 0``: the temperature of the teacher's probabilities, applied to the student as well.

    References
    ----------
    Zhao et al. (2022), Decoupled Knowledge Distillation, equation 7.
    """

    name: ClassVar[str] = "dkd"

    alpha: float = 1.0
    beta: float = 2.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("dkd", "temperature", self.temperature)
        require_weight("dkd", "alpha", self.alpha)
        require_weight("dkd", "beta", self.beta)

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:
        """Loss of each row, ``(n,)``.

        Parameters
        ----------
        student_logits, teacher_probs
            As in `potstill.objectives.KD.loss`.
        labels
            ``(n,)`` int64 target classes. A row without one (-1), and every row when None, takes the class
            the teacher holds most likely.
        """
        target = teacher_probs.argmax(dim=1) if labels is None else labels
        target = torch.where(target < 0, teacher_probs.argmax(dim=1), target)
        binary, others = decoupled_divergences(student_logits / self.temperature, teacher_probs, target)
        return self.temperature**2 * (self.alpha * binary + self.beta * others)


def decoupled_divergences(logits: Tensor, teacher_probs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """``KL(b_T ‖ b_S)`` and ``KL(p̂_T ‖ p̂_S)`` of each row, each ``(n,)``, at one temperature.

    Parameters
    ----------
    logits
        ``(n, K)`` student logits already divided by the temperature.
    teacher_probs
        ``(n, K)`` probabilities at that temperature.
    target
        ``(n,)`` int64 class indices, none negative.
    """
    is_target = torch.zeros_like(teacher_probs, dtype=torch.bool).scatter_(1, target[:, None], True)
    log_probs = torch.log_softmax(logits, dim=1)
    log_rest = log_probs.masked_fill(is_target, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_binary = torch.cat([log_probs.gather(1, target[:, None]), log_rest], dim=1)

    rest = teacher_probs.masked_fill(is_target, 0.0)
    rest_mass = rest.sum(dim=1, keepdim=True)
    binary = torch.cat([teacher_probs.gather(1, target[:, None]), rest_mass], dim=1)

    among_rest = rest / rest_mass.clamp_min(torch.finfo(rest.dtype).tiny)
    log_among_rest = (log_probs - log_rest).masked_fill(is_target, 0.0)
    return kl_divergence(binary, log_binary), kl_divergence(among_rest, log_among_rest)
