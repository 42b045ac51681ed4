"""Squared error to the teacher's value: the objective of regression."""

from __future__ import annotations

from typing import ClassVar

import msgspec
from torch import Tensor


class MSE(msgspec.Struct, frozen=True):
    """``(z − v)²``, summed over outputs; ``z`` the student's and ``v`` the teacher's standardised value."""

    name: ClassVar[str] = "mse"

    @property
    def temperature(self) -> float:
        """1: values are not softened."""
        return 1.0

    def loss(self, student_logits: Tensor, teacher_probs: Tensor, *, labels: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Loss of each row, ``(n,)``.

        Parameters
        ----------
        student_logits, teacher_probs
            ``(n, 1)`` values of student and teacher.
        labels
            Not used.
        """
        return (student_logits - teacher_probs).square().sum(dim=1)
