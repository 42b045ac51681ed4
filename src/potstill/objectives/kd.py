"""Knowledge distillation as Hinton wrote it."""

from __future__ import annotations

from typing import ClassVar

import msgspec
import torch
from torch import Tensor

from potstill.objectives.checks import require_positive


class KD(msgspec.Struct, frozen=True):
    """Kullback–Leibler divergence from the teacher's softened probabilities to the student's.

    ``T² · KL(p_T ‖ softmax(z / T))``. The factor ``T²`` keeps the gradient where it is at ``T = 1``, so
    that a weight against the label's cross-entropy means the same at every temperature.

    Parameters
    ----------
    temperature
        ``T > 0``: the temperature the teacher's probabilities were softened with.

    References
    ----------
    Hinton, Vinyals, Dean (2015), Distilling the Knowledge in a Neural Network, section 2.

    Examples
    --------
    >>> import torch
    >>> KD(temperature=2.0).loss(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
    tensor([0.])
    """

    name: ClassVar[str] = "kd"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("kd", "temperature", self.temperature)

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each row, ``(n,)``.

        Parameters
        ----------
        student_logits
            ``(n, K)`` logits ``z`` at temperature 1.
        teacher_probs
            ``(n, K)`` probabilities at this objective's temperature.
        labels
            Not used.
        """
        student_log_probs = torch.log_softmax(student_logits / self.temperature, dim=1)
        return self.temperature**2 * kl_divergence(teacher_probs, student_log_probs)


def kl_divergence(probs: Tensor, log_probs: Tensor) -> Tensor:
    """``KL(probs ‖ exp(log_probs))`` of each row, ``(n,)``; a probability of 0 adds nothing."""
    divergence: Tensor = (torch.special.xlogy(probs, probs) - probs * log_probs).sum(dim=1)
    return divergence
