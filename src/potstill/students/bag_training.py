"""Training of `NGram` and `Static`: whole tensors in memory, batches by index, words left out at random."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.networks.precision import half_precision
from potstill.students.bag_hints import HintedLesson
from potstill.students.bag_of_words import NOTHING, TABLES, UNKNOWN, BagInputs, Weights, forward
from potstill.students.network import kind_of
from potstill.students.network_training import Epochs, Lesson, Schedule, calibrated_loss
from potstill.types import Progress

AVERAGING_EPOCHS = 0.5
ROWS_AT_ONCE = 1024
BATCHES_SORTED = 16
RATES: Mapping[str, float] = {"word_gain": 3.0}
"""Learning rate of kinds of weight, as a multiple of the others'."""


@dataclass(frozen=True)
class BagJudge:
    """Validation rows, all labelled: the loss against their labels.

    Parameters
    ----------
    inputs
        The rows.
    labels, weight
        ``(n,)`` class indices or values; sample weights.
    n_outputs
        K: the first outputs of the network are its answers.
    """

    inputs: BagInputs
    labels: Tensor
    weight: Tensor
    n_outputs: int

    def loss(self, weights: Weights) -> float:
        """`calibrated_loss` of them."""
        logits = forward_in_chunks(weights, self.inputs)[:, : self.n_outputs]
        return calibrated_loss(logits, self.labels, self.weight)


def train_bag(
    weights: Weights,
    lesson: Lesson[BagInputs] | HintedLesson,
    judge: BagJudge | None,
    *,
    schedule: Schedule,
    word_dropout: float,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Weights, Epochs]:
    """Train ``weights`` in place; return the averaged ones of the best epoch, and that epoch counted from 1.

    Without a judge the last epoch is the best. Of the words a part ``word_dropout`` is left out at every
    step, every second of them as if it were unknown.
    """
    learnt = [weight.requires_grad_() for weight in weights.values()]
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    averages = list(averaged.values())
    optimizer = _optimizer(weights, schedule)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = math.ceil(len(lesson.inputs) / schedule.batch_size)
    keep = math.exp(-1 / max(1.0, AVERAGING_EPOCHS * steps))
    last = schedule.stop_after or schedule.epochs
    best, best_loss, best_epoch = averaged, math.inf, Epochs(last, schedule.epochs)
    lengths = (lesson.inputs.words != NOTHING).sum(dim=1)
    begin, gone = time.monotonic(), 0.0
    for epoch in range(last):
        batches = _batches(lengths, schedule.batch_size, generator)
        for step, rows in enumerate(batches):
            gone = schedule.done(epoch + step / steps, time.monotonic() - begin)
            if gone >= 1.0:
                break
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.rate(gone) / schedule.learning_rate
            inputs = _without_some(lesson.inputs.take(rows), word_dropout, generator)
            with half_precision():
                logits = forward(weights, inputs, dropout=schedule.dropout, generator=generator).float()
            gradients = torch.autograd.grad(lesson.loss(logits, rows), learnt)
            for weight, gradient in zip(learnt, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
            with torch.no_grad():
                done = epoch * steps + step
                torch._foreach_lerp_(averages, learnt, 1 - min(keep, (done + 1) / (done + 10)))
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


def _batches(lengths: Tensor, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """All rows in random order, texts of about the same length together: short ones are soon done with."""
    drawn = torch.randperm(len(lengths), generator=generator)
    batches: list[Tensor] = []
    for rows in torch.split(drawn, BATCHES_SORTED * batch_size):
        batches += torch.split(rows[torch.argsort(lengths[rows], stable=True)], batch_size)
    return [batches[at] for at in torch.randperm(len(batches), generator=generator).tolist()]


def forward_in_chunks(weights: Mapping[str, Tensor], inputs: BagInputs) -> Tensor:
    """`forward` without gradients, a few thousand rows at a time."""
    with torch.no_grad():
        chunks = torch.split(torch.arange(len(inputs)), ROWS_AT_ONCE)
        return torch.cat([forward(weights, inputs.take(rows)) for rows in chunks])


def _without_some(inputs: BagInputs, share: float, generator: torch.Generator) -> BagInputs:
    if not share:
        return inputs
    drawn = torch.rand(inputs.words.shape, generator=generator)
    words = torch.where((drawn < share) & (inputs.words != NOTHING), UNKNOWN, inputs.words)
    words = torch.where(drawn < share / 2, NOTHING, words)
    return BagInputs(words, inputs.numbers, inputs.levels)


def _optimizer(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW; tables decay as `Schedule` says, dense layers a little, all else not at all."""
    parameters = []
    for name, weight in weights.items():
        decay = schedule.weight_decay if name in TABLES else 0.01 if "weight" in name else 0.0
        rate = schedule.learning_rate * RATES.get(kind_of(name), 1.0)
        parameters.append({"params": [weight], "lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(parameters, betas=(0.9, 0.99), fused=True)
