"""The generalised Jensen–Shannon divergence: from forward to reverse Kullback–Leibler on one dial."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from potstill.errors import UserError
from potstill.objectives.checks import require_positive
from potstill.objectives.kd import kl_divergence
from potstill.objectives.logit_mse import SMALLEST_PROB

LIMIT = 1e-3
"""Nearer than this to 0 or 1 the quotient loses its digits to float32 and the limit itself is used."""


class JSD(msgspec.Struct, frozen=True):
    """``T² [β KL(P‖M) + (1−β) KL(Q‖M)] / (β(1−β))`` with ``M = βP + (1−β)Q``; ``P`` teacher, ``Q`` student.

    The divisor makes the loss continuous up to both ends, where the bare divergence vanishes: it tends to
    ``KL(P‖Q)`` (which is `KD`) as ``β → 0`` and to ``KL(Q‖P)`` as ``β → 1``. Near equality its size does not
    depend on β, so neither does what a weight against the label means.

    Parameters
    ----------
    beta
        In [0, 1]. Small covers all the teacher's classes; large prefers the teacher's main class.
    temperature
        ``T > 0``: the temperature of the teacher's probabilities, applied to the student as well.

    References
    ----------
    Agarwal et al. (2024), On-Policy Distillation of Language Models, section 2 (limits: Huszár 2015).
    """

    name: ClassVar[str] = "jsd"

    beta: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("jsd", "temperature", self.temperature)
        if not 0 <= self.beta <= 1:
            raise UserError(
                f"The objective 'jsd' wants beta between 0 and 1, got {self.beta}.",
                hint="0 is forward, 1 is reverse Kullback-Leibler divergence.",
            )

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each row, ``(n,)``; arguments as in `potstill.objectives.KD.loss`."""
        student_log_probs = torch.log_softmax(student_logits / self.temperature, dim=1)
        scale = self.temperature**2
        if self.beta < LIMIT:
            return scale * kl_divergence(teacher_probs, student_log_probs)
        student_probs = student_log_probs.exp()
        if self.beta > 1 - LIMIT:
            teacher_log_probs = torch.log(teacher_probs.clamp_min(SMALLEST_PROB))
            return scale * (student_probs * (student_log_probs - teacher_log_probs)).sum(dim=1)
        mixture = self.beta * teacher_probs + (1 - self.beta) * student_probs
        log_mixture = torch.log(mixture.clamp_min(torch.finfo(mixture.dtype).tiny))
        from_teacher = kl_divergence(teacher_probs, log_mixture)
        from_student = (student_probs * (student_log_probs - log_mixture)).sum(dim=1)
        divergence = self.beta * from_teacher + (1 - self.beta) * from_student
        return scale * divergence / (self.beta * (1 - self.beta))
