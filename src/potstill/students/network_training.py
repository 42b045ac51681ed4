"""Training of `MLP` and `TabM`: whole tensors in memory, batches by index, one schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from potstill.objectives import blended
from potstill.students.network import Inputs, Weights, forward, kind_of, n_hidden
from potstill.students.targets import blended_targets, is_linear_in_targets
from potstill.types import Examples, Objective, Progress, Task

WARM_UP = 0.05
AVERAGING_EPOCHS = 1.0
ROWS_AT_ONCE = 8192
MASK_ROWS = 8192
STRIDE = 1663
JUDGED_AT = tuple(
    2.0**power for power in (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
)
"""Temperatures that `calibrated_loss` tries."""

RATES: Mapping[str, float] = {
    "scale": 6.0,
    "adapter": 1.0,
    "mix": 0.3,
    "embedding": 0.3,
    "bias": 0.1,
    "logit_bias": 0.1,
    "frequency": 0.1,
    "phase": 0.1,
}
"""Learning rate of each kind of weight; a dense layer's is 1 over the square root of its inputs."""

DECAYING = ("weight", "logit_weight", "mix", "embedding")
FIXED = ("knot", "slope")


Rows = TypeVar("Rows")


@dataclass(frozen=True)
class Lesson(Generic[Rows]):
    """Rows and what is taught about them, on the training device.

    Parameters
    ----------
    inputs
        The rows, as the network takes them.
    targets
        ``(n, K)`` blended targets if the loss is linear in them, else the teacher's probabilities.
    labels, hard_weight, weight
        ``(n,)`` as in `potstill.types.Examples`.
    objective
        The soft loss; None where ``targets`` say it all.
    """

    inputs: Rows
    targets: Tensor
    labels: Tensor
    hard_weight: Tensor
    weight: Tensor
    objective: Objective | None

    @classmethod
    def of(cls, train: Examples, inputs: Rows, *, task: Task, objective: Objective, device: str) -> Self:
        """The lesson of ``train``, whose rows are ``inputs``."""
        linear = is_linear_in_targets(train, objective)
        labels = train.labels.astype(np.float32) if train.labels.dtype.kind == "f" else train.labels
        targets = blended_targets(train, task.n_outputs) if linear else train.teacher_probs
        return cls(
            inputs=inputs,
            targets=torch.from_numpy(targets).to(device),
            labels=torch.from_numpy(labels).to(device),
            hard_weight=torch.from_numpy(train.hard_weight).to(device),
            weight=torch.from_numpy(train.weight).to(device),
            objective=None if linear else objective,
        )

    def is_labelled(self, rows: Tensor) -> Tensor:
        """``(n,)`` which of ``rows`` have a label of their own."""
        labels = self.labels.index_select(0, rows)
        return ~labels.isnan() if labels.is_floating_point() else labels >= 0

    def loss(self, logits: Tensor, rows: Tensor, share: Tensor | None = None) -> Tensor:
        """Weighted mean loss of the batch ``rows``; of heads ``(k, n, K)`` the mean of their losses.

        Where inputs are mixtures, ``share`` ``(n,)`` is how much of each comes from the row.
        """
        targets, weight = self.targets.index_select(0, rows), self.weight.index_select(0, rows)
        if self.objective is not None:
            labels, lam = self.labels.index_select(0, rows), self.hard_weight.index_select(0, rows)
            heads = logits.unbind() if logits.dim() == 3 else (logits,)
            losses = torch.stack([blended(self.objective, head, targets, labels, lam) for head in heads])
        elif logits.shape[-1] == 1:
            losses = (logits - targets).square().sum(dim=-1)
        else:
            losses = -(targets * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
        return (losses * (weight if share is None else weight * share)).mean()


@dataclass(frozen=True)
class Judge:
    """Validation rows, all labelled: the loss against their labels."""

    inputs: Inputs
    labels: Tensor
    weight: Tensor

    def loss(self, weights: Weights) -> float:
        """Weighted mean log-loss, or squared error, of the answers; with heads, of their average."""
        return float(self.loss_of(averaged_logits(self.logits(weights))))

    def logits(self, weights: Weights) -> Tensor:
        """`forward` of all rows, in chunks."""
        return forward_in_chunks(weights, self.inputs)

    def loss_of(self, logits: Tensor) -> Tensor:
        """Weighted mean log-loss, or squared error, of ``(n, K)`` logits."""
        return label_loss(logits, self.labels, self.weight)


def label_loss(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean log-loss, or squared error, of ``(n, K)`` logits against ``(n,)`` labels."""
    if labels.is_floating_point():
        losses = (logits[:, 0] - labels).square()
    else:
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return (losses * weight).sum() / weight.sum()


def calibrated_loss(logits: Tensor, labels: Tensor, weight: Tensor) -> float:
    """`label_loss` at the temperature that suits the logits best, as one will be fitted for them in the end.

    A network that has become too sure of itself, but errs less often, is the better one.
    """
    if labels.is_floating_point():
        return float(label_loss(logits, labels, weight))
    return min(float(label_loss(logits / temperature, labels, weight)) for temperature in JUDGED_AT)


class Epochs(int):
    """Epochs that were trained, of so many ``planned``, by whose end the learning rate would have been 0.

    Half of a schedule is not a schedule of half the length: whoever trains as long again needs both.
    """

    planned: int

    def __new__(cls, trained: int, planned: int = 0) -> Epochs:
        made = super().__new__(cls, trained)
        made.planned = max(trained, planned)
        return made


@dataclass(frozen=True)
class Schedule:
    """How a network is trained.

    Parameters
    ----------
    epochs, batch_size, learning_rate, weight_decay, dropout
        The usual.
    patience
        Epochs without improvement before training ends.
    time_limit_s
        Seconds that training may take: where the epochs would take longer, the schedule runs by the clock.
    stop_after
        Epochs after which training ends within the schedule; None for all of it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    patience: int
    time_limit_s: float | None = None
    stop_after: int | None = None

    def done(self, epochs: float, seconds: float) -> float:
        """The fraction of training that is over: by epochs, or by the clock where that is further."""
        by_clock = 0.0 if self.time_limit_s is None else seconds / self.time_limit_s
        return min(1.0, max(epochs / self.epochs, by_clock))

    def rate(self, done: float) -> float:
        """Learning rate after the fraction ``done`` of training: linear warm-up, then half a cosine to 0."""
        if done < WARM_UP:
            return self.learning_rate * done / WARM_UP
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def train_network(
    weights: Weights,
    lesson: Lesson[Inputs],
    judge: Judge | None,
    *,
    schedule: Schedule,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Weights, Epochs]:
    """Train ``weights`` in place; return the averaged ones of the best epoch, and that epoch counted from 1.

    Without a judge the last epoch is the best.
    """
    learnt = [weight.requires_grad_() for name, weight in weights.items() if name not in FIXED]
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    averages = [weight for name, weight in averaged.items() if name not in FIXED]
    optimizer = _optimizer(weights, schedule)
    rates = [group["lr"] for group in optimizer.param_groups]
    pools = _dropout_pools(weights, schedule, generator)
    steps = math.ceil(len(lesson.inputs) / schedule.batch_size)
    keep = math.exp(-1 / max(1.0, AVERAGING_EPOCHS * steps))
    last = schedule.stop_after or schedule.epochs
    best, best_loss, best_epoch = averaged, math.inf, Epochs(last, schedule.epochs)
    begin, gone = time.monotonic(), 0.0
    for epoch in range(last):
        order = torch.randperm(len(lesson.inputs), generator=generator, device=generator.device)
        for step, rows in enumerate(torch.split(order, schedule.batch_size)):
            gone = schedule.done(epoch + step / steps, time.monotonic() - begin)
            if gone >= 1.0:
                break
            factor = schedule.rate(gone)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            done = epoch * steps + step
            masks = _masks(pools, done, len(rows) * n_copies(weights))
            logits = forward(weights, lesson.inputs.take(rows), masks=masks)
            gradients = torch.autograd.grad(lesson.loss(logits, rows), learnt)
            for weight, gradient in zip(learnt, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
            with torch.no_grad():
                current = min(keep, (done + 1) / (done + 10))
                torch._foreach_lerp_(averages, learnt, 1 - current)
        progress.advance()
        loss = math.inf if judge is None else judge.loss(averaged)
        if loss < best_loss:
            share = schedule.done(epoch + 1, time.monotonic() - begin)
            best, best_loss = {n: w.clone() for n, w in averaged.items()}, loss
            best_epoch = Epochs(epoch + 1, round((epoch + 1) / share))
        out_of_patience = judge is not None and epoch + 1 - best_epoch >= schedule.patience
        if out_of_patience or gone >= 1.0:
            break
    return best, best_epoch


def forward_in_chunks(weights: Mapping[str, Tensor], inputs: Inputs) -> Tensor:
    """`forward` without gradients, a few thousand rows at a time."""
    with torch.no_grad():
        device = inputs.numbers.device
        chunks = torch.split(torch.arange(len(inputs), device=device), ROWS_AT_ONCE)
        return torch.cat([forward(weights, inputs.take(rows)) for rows in chunks], dim=-2)


def averaged_logits(logits: Tensor) -> Tensor:
    """``(n, K)``: the mean over heads ``(k, n, K)``; without heads the logits themselves."""
    return logits.mean(dim=0) if logits.dim() == 3 else logits


def n_copies(weights: Mapping[str, Tensor]) -> int:
    """How many times a row goes through the hidden layers: once for each head."""
    return len(weights["adapter"]) if "adapter" in weights else 1


def _optimizer(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW with the `RATES`; biases, scales, phases and frequencies do not decay."""
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, weight in weights.items():
        kind = kind_of(name)
        if kind in FIXED:
            continue
        relative = RATES.get(kind) or 1 / math.sqrt(weight.shape[-2])
        # Decay goes by the step, not by the rate: a slow layer forgets as much as a fast one.
        decay = schedule.weight_decay / relative if kind in DECAYING else 0.0
        groups.setdefault((schedule.learning_rate * relative, decay), []).append(weight)
    parameters = [
        {"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in groups.items()
    ]
    return torch.optim.AdamW(parameters, betas=(0.9, 0.95), fused=True)


def _dropout_pools(weights: Weights, schedule: Schedule, generator: torch.Generator) -> list[Tensor]:
    """Masks for each hidden layer, from which every step takes a run of rows; none without dropout.

    Fresh random numbers for every step would cost as much as the rest of it.
    """
    if not schedule.dropout:
        return []
    kept = 1 - schedule.dropout
    n_rows = MASK_ROWS + schedule.batch_size * n_copies(weights)
    pools = []
    for i in range(n_hidden(weights)):
        pool = torch.empty(n_rows, weights[f"bias{i}"].shape[0], device=generator.device)
        pools.append(pool.bernoulli_(kept, generator=generator).div_(kept))
    return pools


def _masks(pools: list[Tensor], step: int, n_rows: int) -> list[Tensor]:
    return [pool.narrow(0, step * STRIDE % MASK_ROWS, n_rows) for pool in pools]
