"""A dense layer on vectors that stay as they are: a head of its own, or where fine-tuning begins."""

from __future__ import annotations

import torch
from torch import Tensor

PENALTY = 1e-3
"""Of the squared weights of standardised vectors, against the mean loss of a row."""

MANY_CLASSES = 11
"""From here on a head is fitted on the vectors as they are before a pretrained encoder is fine-tuned with it;
with fewer a random one learns as quickly, and less surely."""

SCALE = 0.02
"""Standard deviation of a random head's weights."""

_STEPS = 100


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, or squared error, of each row."""
    if targets.shape[1] == 1:
        return (logits - targets).square().sum(dim=1)
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)


def random_head(width: int, bias: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """``logit_weight`` ``(width, K)``, small and random, and ``logit_bias`` ``(K,)``."""
    matrix = torch.randn((width, len(bias)), generator=generator) * SCALE
    return {"logit_weight": matrix, "logit_bias": bias}


def fitted_head(vectors: Tensor, targets: Tensor, mass: Tensor) -> dict[str, Tensor]:
    """``logit_weight`` and ``logit_bias`` of `fitted_layer`."""
    matrix, bias = fitted_layer(vectors, targets, mass)
    return {"logit_weight": matrix, "logit_bias": bias}


def fitted_layer(vectors: Tensor, targets: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
    """A dense layer ``(H, K)``, ``(K,)``: logistic or linear regression with a penalty.

    Parameters
    ----------
    vectors
        ``(n, H)``.
    targets
        ``(n, K)`` probabilities, or ``(n, 1)`` values.
    mass
        ``(n,)`` weights, mean 1.
    """
    center = vectors.mean(dim=0)
    scale = (vectors - center).std(correction=0) + 1e-6
    given = (vectors - center) / scale
    matrix = torch.zeros(vectors.shape[1], targets.shape[1], requires_grad=True)
    bias = torch.zeros(targets.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([matrix, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = (losses_of(given @ matrix + bias, targets) * mass).mean()
        total = total + PENALTY * matrix.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    folded = matrix.detach() / scale
    return folded, bias.detach() - center @ folded
