"""What every distillation loss must hold to."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from potstill.types import Objective

N_ROWS, N_CLASSES = 12, 5
TOLERANCE = 1e-5


def check_objective(objective: Objective) -> None:
    """Check a loss against the contract of `potstill.types.Objective`.

    One non-negative number a row; 0 where student and teacher agree; finite, as is its gradient, for sure and
    impossible classes; differentiable; blind to the order of the rows; content with rows that have no label.

    Parameters
    ----------
    objective
        The loss, with any hyper-parameters.

    Raises
    ------
    AssertionError
        The loss breaks the contract; the message says where.
    """
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(N_ROWS, N_CLASSES, generator=generator)
    probs = torch.softmax(torch.randn(N_ROWS, N_CLASSES, generator=generator), dim=1)
    labels = torch.arange(N_ROWS) % (N_CLASSES + 1) - 1

    assert objective.temperature > 0, f"{objective.name}: temperature {objective.temperature} is not above 0"
    losses = objective.loss(logits, probs, labels=labels)
    assert losses.shape == (N_ROWS,), (
        f"{objective.name}: one loss a row wanted, got shape {tuple(losses.shape)}"
    )
    assert (losses >= -TOLERANCE).all(), f"{objective.name}: a loss of {losses.min()} is negative"
    assert losses.max() > TOLERANCE, f"{objective.name}: a student that disagrees has loss 0"
    assert torch.isfinite(objective.loss(logits, probs)).all(), f"{objective.name}: not finite without labels"

    _check_zero_at_equality(objective, probs, labels)
    _check_extremes(objective, labels)
    _check_gradient(objective, logits, probs, labels)

    order = torch.from_numpy(np.random.default_rng(0).permutation(N_ROWS))
    shuffled = objective.loss(logits[order], probs[order], labels=labels[order])
    assert torch.allclose(shuffled, losses[order], atol=TOLERANCE), (
        f"{objective.name}: the order of rows matters"
    )


def _check_zero_at_equality(objective: Objective, probs: Tensor, labels: Tensor) -> None:
    """The student agrees when its softened probabilities, or its values, are the teacher's."""
    agreeing = objective.temperature * torch.log(probs)
    losses = torch.minimum(
        objective.loss(agreeing, probs, labels=labels).abs().max(),
        objective.loss(probs, probs, labels=labels).abs().max(),
    )
    assert losses < TOLERANCE * objective.temperature**2, f"{objective.name}: a loss of {losses} at equality"


def _check_extremes(objective: Objective, labels: Tensor) -> None:
    certain = torch.eye(N_CLASSES)[torch.arange(N_ROWS) % N_CLASSES]
    for scale in (0.0, 30.0):
        logits = (scale * certain.roll(1, dims=0)).requires_grad_()
        losses = objective.loss(logits, certain, labels=labels)
        assert torch.isfinite(losses).all(), f"{objective.name}: not finite at probabilities of 0 and 1"
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert torch.isfinite(gradient).all(), (
            f"{objective.name}: gradient not finite at probabilities of 0 and 1"
        )


def _check_gradient(objective: Objective, logits: Tensor, probs: Tensor, labels: Tensor) -> None:
    double = logits.double().requires_grad_()
    right = torch.autograd.gradcheck(
        lambda z: objective.loss(z, probs.double(), labels=labels), (double,), raise_exception=False
    )
    assert right, f"{objective.name}: its gradient is not the derivative of its values"
