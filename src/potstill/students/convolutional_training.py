"""Training of `ResidualCNN` and `DepthwiseCNN`: another view of every picture each epoch, one schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.networks import views
from potstill.networks.convolution import FIXED, Layer, Weights, forward, kind_of
from potstill.networks.pictures import Pictures
from potstill.networks.precision import half_precision
from potstill.students.network_training import Epochs, Lesson, Schedule, calibrated_loss
from potstill.types import Progress

ROWS_AT_ONCE = 1024
AVERAGING_EPOCHS = 1.0

UNLABELLED_SHARE = 0.5
"""Part of the pictures of an epoch that have no label, at most; of the others every epoch sees new views."""


@dataclass(frozen=True)
class Views:
    """What is changed in a picture before it is learnt from.

    Parameters
    ----------
    shift
        Pixels up, down, left and right at most.
    flips
        Whether left and right are exchanged in half of the pictures.
    mixing
        Share of the batches in which pictures are mixed in pairs, or pasted on each other.
    """

    shift: int
    flips: bool
    mixing: float


@dataclass(frozen=True)
class Judge:
    """Validation pictures, all labelled."""

    inputs: Pictures
    labels: Tensor
    weight: Tensor

    def loss(self, layers: Sequence[Layer], weights: Weights) -> float:
        """`calibrated_loss` of them."""
        with half_precision(self.inputs.pixels.device.type):
            logits = forward_in_chunks(layers, weights, self.inputs)
        return calibrated_loss(logits.float(), self.labels, self.weight)


class Order:
    """Which pictures an epoch sees: all with labels, and as many of the others as `UNLABELLED_SHARE` allows,
    those first that earlier epochs did not see.

    Parameters
    ----------
    labelled, others
        Positions of the pictures.
    """

    def __init__(self, labelled: Tensor, others: Tensor) -> None:
        self._labelled, self._others = labelled, others
        self._left = others[:0]
        most = round(len(labelled) * UNLABELLED_SHARE / (1 - UNLABELLED_SHARE))
        self._n_others = min(len(others), most) if len(labelled) else len(others)

    @classmethod
    def of(cls, lesson: Lesson[Pictures]) -> Order:
        """For all pictures of a lesson."""
        labelled = lesson.is_labelled(torch.arange(len(lesson.inputs)))
        return cls(torch.nonzero(labelled).flatten(), torch.nonzero(~labelled).flatten())

    @property
    def n_rows(self) -> int:
        """Pictures of an epoch."""
        return len(self._labelled) + self._n_others

    def epoch(self, generator: torch.Generator) -> Tensor:
        """``(n_rows,)`` positions of the next epoch's pictures."""
        if len(self._left) < self._n_others:
            again = self._others[torch.randperm(len(self._others), generator=generator)]
            self._left = torch.cat([self._left, again])
        others, self._left = self._left[: self._n_others], self._left[self._n_others :]
        rows = torch.cat([self._labelled, others])
        return rows[torch.randperm(len(rows), generator=generator)]


def train_convolutional(
    layers: Sequence[Layer],
    weights: Weights,
    lesson: Lesson[Pictures],
    judge: Judge | None,
    *,
    order: Order,
    schedule: Schedule,
    changes: Views,
    generator: torch.Generator,
    progress: Progress,
) -> tuple[Weights, Epochs]:
    """Train ``weights`` in place; return the averaged ones of the best epoch, and that epoch counted from 1.

    Without a judge the last epoch is the best.
    """
    for name, weight in weights.items():
        weight.requires_grad_(kind_of(name) not in FIXED)
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = _optimizer(weights, schedule)
    steps = math.ceil(order.n_rows / schedule.batch_size)
    keep = math.exp(-1 / max(1.0, AVERAGING_EPOCHS * steps))
    last = schedule.stop_after or schedule.epochs
    best, best_loss, best_epoch = averaged, math.inf, Epochs(last, schedule.epochs)
    begin, gone = time.monotonic(), 0.0
    for epoch in range(last):
        for step, rows in enumerate(torch.split(order.epoch(generator), schedule.batch_size)):
            gone = schedule.done(epoch + step / steps, time.monotonic() - begin)
            if gone >= 1.0:
                break
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(gone)
            loss = _loss_of_views(layers, weights, lesson, rows, changes, generator)
            optimizer.zero_grad()
            # Not autograd.grad: gradients must lie in memory as their weights do, or fused steps mix them up.
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            done = epoch * steps + step
            with torch.no_grad():
                current = min(keep, (done + 1) / (done + 10))
                torch._foreach_lerp_(list(averaged.values()), list(weights.values()), 1 - current)
        progress.advance()
        loss_now = math.inf if judge is None else judge.loss(layers, averaged)
        if loss_now < best_loss:
            share = schedule.done(epoch + 1, time.monotonic() - begin)
            best, best_loss = {name: weight.clone() for name, weight in averaged.items()}, loss_now
            best_epoch = Epochs(epoch + 1, round((epoch + 1) / share))
        if gone >= 1.0 or (judge is not None and epoch + 1 - best_epoch >= schedule.patience):
            break
    return best, best_epoch


def forward_in_chunks(layers: Sequence[Layer], weights: Mapping[str, Tensor], inputs: Pictures) -> Tensor:
    """`forward` without gradients, some rows at a time."""
    with torch.no_grad():
        chunks = torch.split(inputs.pixels, ROWS_AT_ONCE)
        return torch.cat([forward(layers, weights, inputs.planes(chunk)) for chunk in chunks])


def _loss_of_views(
    layers: Sequence[Layer],
    weights: Weights,
    lesson: Lesson[Pictures],
    rows: Tensor,
    changes: Views,
    generator: torch.Generator,
) -> Tensor:
    """The loss of a batch, each picture in a view of its own; of mixtures, both rows' by their shares.

    Those without labels are shifted too: what the teacher answers to a view is right for its neighbours, and
    a view that comes back unchanged is learnt by heart.
    """
    inputs = lesson.inputs
    pixels = views.moved(inputs.pixels, rows, shift=changes.shift, flips=changes.flips, draws=generator)
    share = None
    if changes.mixing and float(torch.rand(1, generator=generator)) < changes.mixing:
        share = torch.rand(len(rows), generator=generator)
        partners = torch.randperm(len(rows), generator=generator)
        if float(torch.rand(1, generator=generator)) < 0.5:
            pixels = views.mixed(pixels, pixels[partners], share)
        else:
            pixels, share = views.pasted(pixels, pixels[partners], share, draws=generator)
    with half_precision(inputs.pixels.device.type):
        logits = forward(layers, weights, inputs.planes(pixels), learning=len(rows) > 1)
    logits = logits.float()
    if share is None:
        return lesson.loss(logits, rows)
    return lesson.loss(logits, rows, share) + lesson.loss(logits, rows[partners], 1 - share)


def _optimizer(weights: Weights, schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW; only kernels and the dense layer's weights decay."""
    decaying = [weight for name, weight in weights.items() if kind_of(name) in ("kernel", "logit_weight")]
    others = [
        weight for name, weight in weights.items() if kind_of(name) not in (*FIXED, "kernel", "logit_weight")
    ]
    groups = [
        {"params": decaying, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, 0.99), fused=True)
