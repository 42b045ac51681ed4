"""Matching logits: what distillation becomes when the temperature grows without bound."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from potstill.objectives.checks import require_positive

SMALLEST_PROB = 1e-7
"""Floor of a teacher's probability before its logarithm: about the resolution of float32 near 1."""


class LogitMSE(msgspec.Struct, frozen=True):
    """Squared distance of the centred logits, ``(1 / 2K) ‖(z − z̄) − (v − v̄)‖²``.

    A teacher that answers probabilities has no logits of its own; ``v = T log p_T`` is theirs up to the
    constant that centring removes.

    Parameters
    ----------
    temperature
        ``T > 0``: the temperature the teacher's probabilities were softened with. Above 1 the floor under
        small probabilities bites less, so one confident teacher row weighs less.

    References
    ----------
    Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, section 2.1, equation 4.
    """

    name: ClassVar[str] = "logit_mse"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("logit_mse", "temperature", self.temperature)

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each row, ``(n,)``; arguments as in `potstill.objectives.KD.loss`."""
        teacher_logits = self.temperature * torch.log(teacher_probs.clamp_min(SMALLEST_PROB))
        difference = student_logits - teacher_logits
        centred = difference - difference.mean(dim=1, keepdim=True)
        return centred.square().mean(dim=1) / 2
