"""Training of `MLP`: whole tensors in memory, batches by index, one schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.objectives import blended
from potstill.students.network import Inputs, Weights, forward, n_layers
from potstill.types import Objective, Progress

WARM_UP = 0.05
AVERAGING_EPOCHS = 1.0
ROWS_AT_ONCE = 8192
MASK_ROWS = 8192
STRIDE = 1663


@dataclass(frozen=True)
class Lesson:
    """Rows and what is taught about them, on the training device.

    Parameters
    ----------
    inputs
        The rows.
    targets
        ``(n, K)`` blended targets if the loss is linear in them, else the teacher's probabilities.
    labels, hard_weight, weight
        ``(n,)`` as in `potstill.types.Examples`.
    objective
        The soft loss; None where ``targets`` say it all.
    """

    inputs: Inputs
    targets: Tensor
    labels: Tensor
    hard_weight: Tensor
    weight: Tensor
    objective: Objective | None

    def loss(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Weighted mean loss of the batch ``rows``."""
        targets, weight = self.targets.index_select(0, rows), self.weight.index_select(0, rows)
        if self.objective is not None:
            labels, lam = self.labels.index_select(0, rows), self.hard_weight.index_select(0, rows)
            losses = blended(self.objective, logits, targets, labels, lam)
        elif logits.shape[1] == 1:
            losses = (logits - targets).square().sum(dim=1)
        else:
            losses = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (losses * weight).mean()


@dataclass(frozen=True)
class Judge:
    """Validation rows, all labelled: the loss against their labels."""

    inputs: Inputs
    labels: Tensor
    weight: Tensor

    def loss(self, weights: Weights) -> float:
        """Weighted mean log-loss, or squared error."""
        with torch.no_grad():
            chunks = torch.split(torch.arange(len(self.inputs), device=self.weight.device), ROWS_AT_ONCE)
            logits = torch.cat([forward(weights, self.inputs.take(rows)) for rows in chunks])
            if self.labels.is_floating_point():
                losses = (logits[:, 0] - self.labels).square()
            else:
                losses = torch.nn.functional.cross_entropy(logits, self.labels, reduction="none")
            return float((losses * self.weight).sum() / self.weight.sum())


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Parameters
    ----------
    epochs, batch_size, learning_rate, weight_decay, dropout
        The usual.
    patience
        Epochs without improvement before training ends.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    patience: int

    def rate(self, done: float) -> float:
        """Learning rate after the fraction ``done`` of training: linear warm-up, then half a cosine to 0."""
        if done < WARM_UP:
            return self.learning_rate * done / WARM_UP
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def train_network(
    weights: Weights,
    lesson: Lesson,
    judge: Judge | None,
    *,
    schedule: Schedule,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Weights, int]:
    """Train ``weights`` in place; return the averaged ones of the best epoch, and that epoch counted from 1.

    Without a judge all epochs are run and the last is the best.
    """
    trained = [weight.requires_grad_() for weight in weights.values()]
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = _optimizer(weights, schedule)
    pools = _dropout_pools(weights, schedule, generator)
    steps = math.ceil(len(lesson.inputs) / schedule.batch_size)
    keep = math.exp(-1 / max(1.0, AVERAGING_EPOCHS * steps))
    best, best_loss, best_epoch = averaged, math.inf, schedule.epochs
    for epoch in range(schedule.epochs):
        order = torch.randperm(len(lesson.inputs), generator=generator, device=generator.device)
        for step, rows in enumerate(torch.split(order, schedule.batch_size)):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate((epoch + step / steps) / schedule.epochs)
            done = epoch * steps + step
            masks = [pool.narrow(0, done * STRIDE % MASK_ROWS, len(rows)) for pool in pools]
            logits = forward(weights, lesson.inputs.take(rows), masks=masks)
            gradients = torch.autograd.grad(lesson.loss(logits, rows), trained)
            for weight, gradient in zip(trained, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
            with torch.no_grad():
                current = min(keep, (done + 1) / (done + 10))
                torch._foreach_lerp_(list(averaged.values()), trained, 1 - current)
        progress.advance()
        if judge is None:
            continue
        loss = judge.loss(averaged)
        if loss < best_loss:
            best, best_loss, best_epoch = {n: w.clone() for n, w in averaged.items()}, loss, epoch + 1
        elif epoch + 1 - best_epoch >= schedule.patience:
            break
    return best, best_epoch


def _optimizer(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW; biases, phases and frequencies do not decay."""
    decaying = [weight for name, weight in weights.items() if name.startswith(("weight", "mix", "embedding"))]
    others = [
        weight for name, weight in weights.items() if not name.startswith(("weight", "mix", "embedding"))
    ]
    groups = [
        {"params": decaying, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.95), fused=True)


def _dropout_pools(weights: Weights, schedule: Schedule, generator: torch.Generator) -> list[Tensor]:
    """Masks for each hidden layer, from which every step takes a run of rows; none without dropout.

    Fresh random numbers for every step would cost as much as the rest of it.
    """
    if not schedule.dropout:
        return []
    kept = 1 - schedule.dropout
    widths = [weights[f"bias{i}"].shape[0] for i in range(n_layers(weights) - 1)]
    pools = []
    for width in widths:
        pool = torch.empty(MASK_ROWS + schedule.batch_size, width, device=generator.device)
        pools.append(pool.bernoulli_(kept, generator=generator).div_(kept))
    return pools
