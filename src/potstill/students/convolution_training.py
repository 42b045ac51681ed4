"""Training of convolutional networks: pictures seen anew in every epoch, one cycle of the learning rate."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.networks.convolution import seen_anew
from potstill.objectives import blended
from potstill.students.network_training import Epochs, Schedule
from potstill.students.targets import blended_targets, is_linear_in_targets
from potstill.types import Examples, Objective, Progress, Task

ROWS_AT_ONCE = 512
MOMENTUM = 0.9


@dataclass(frozen=True)
class PictureLesson:
    """Pictures and what is taught about them.

    Parameters
    ----------
    pixels
        ``(n, channels, height, width)`` uint8, channels last in memory.
    targets
        ``(n, K)`` blended targets if the loss is linear in them, else the teacher's probabilities.
    labels, hard_weight, weight
        ``(n,)`` as in `potstill.types.Examples`.
    objective
        The soft loss; None where ``targets`` say it all.
    mixup
        Largest part of another picture that is blended into each, together with its targets; 0 for none.
    flips
        Whether pictures may be mirrored.
    """

    pixels: Tensor
    targets: Tensor
    labels: Tensor
    hard_weight: Tensor
    weight: Tensor
    objective: Objective | None
    mixup: float
    flips: bool

    @classmethod
    def of(
        cls, examples: Examples, objective: Objective, task: Task, *, mixup: float, flips: bool
    ) -> PictureLesson:
        """What ``examples`` teach; pictures are blended only where the loss is linear in the targets."""
        linear = is_linear_in_targets(examples, objective)
        targets = blended_targets(examples, task.n_outputs) if linear else examples.teacher_probs
        labels = examples.labels.astype(np.float32) if examples.labels.dtype.kind == "f" else examples.labels
        return cls(
            pixels=pixels_of(examples),
            targets=torch.from_numpy(targets),
            labels=torch.from_numpy(labels),
            hard_weight=torch.from_numpy(examples.hard_weight),
            weight=torch.from_numpy(examples.weight),
            objective=None if linear else objective,
            mixup=mixup if linear else 0.0,
            flips=flips,
        )

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Rows of each step of an epoch; a last batch too small for its statistics is left out."""
        order = torch.randperm(len(self.pixels), generator=generator)
        for rows in torch.split(order, size):
            if len(rows) > 1:
                yield rows

    def step_loss(self, network: nn.Module, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Weighted mean loss of some rows, seen anew."""
        pixels = seen_anew(self.pixels.index_select(0, rows), flips=self.flips, generator=generator)
        targets, weight = self.targets.index_select(0, rows), self.weight.index_select(0, rows)
        if self.mixup:
            share = self.mixup * torch.rand(len(rows), 1, generator=generator)
            other = torch.randperm(len(rows), generator=generator)
            pixels = torch.lerp(pixels.float(), pixels[other].float(), share[:, :, None, None])
            targets = torch.lerp(targets, targets[other], share)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(pixels)
        logits = logits.float()
        if self.objective is not None:
            labels, hard_weight = self.labels.index_select(0, rows), self.hard_weight.index_select(0, rows)
            losses = blended(self.objective, logits, targets, labels, hard_weight)
        elif logits.shape[1] == 1:
            losses = (logits - targets).square().sum(dim=1)
        else:
            losses = -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)
        return (losses * weight).mean()


def pixels_of(examples: Examples) -> Tensor:
    """``(n, channels, height, width)`` uint8, channels last in memory."""
    pixels = examples.tensors["pixels"]
    writable = pixels if pixels.flags.writeable else pixels.copy()
    return torch.from_numpy(np.ascontiguousarray(writable)).permute(0, 3, 1, 2)


def train_convolutional(
    network: nn.Module,
    lesson: PictureLesson,
    valid: Examples | None,
    *,
    schedule: Schedule,
    generator: torch.Generator,
    progress: Progress,
) -> Epochs:
    """Train ``network`` in place and leave it as it was after the best epoch; return that, counted from 1.

    Without validation rows the last epoch is the best.
    """
    optimizer = _optimizer(network, schedule)
    steps = math.ceil(len(lesson.pixels) / schedule.batch_size)
    last = schedule.stop_after or schedule.epochs
    best_state, best_loss, best_epoch = None, math.inf, Epochs(last, schedule.epochs)
    begin, gone = time.monotonic(), 0.0
    for epoch in range(last):
        network.train()
        for step, rows in enumerate(lesson.batches(schedule.batch_size, generator)):
            gone = schedule.done(epoch + step / steps, time.monotonic() - begin)
            if gone >= 1.0:
                break
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(gone)
            loss = lesson.step_loss(network, rows, generator)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        progress.advance()
        told = math.inf if valid is None else label_loss(network, valid)
        if told < best_loss:
            share = schedule.done(epoch + 1, time.monotonic() - begin)
            best_state, best_loss = copy.deepcopy(network.state_dict()), told
            best_epoch = Epochs(epoch + 1, round((epoch + 1) / share))
        if gone >= 1.0:
            break
    if best_state is not None:
        network.load_state_dict(best_state)
    network.eval()
    return best_epoch


def label_loss(network: nn.Module, valid: Examples) -> float:
    """Weighted mean log-loss, or squared error, of the labels, at the temperature that suits them best."""
    logits = torch.from_numpy(answers(network, pixels_of(valid)))
    weight = torch.from_numpy(valid.weight)
    if valid.labels.dtype.kind == "f":
        losses = (logits[:, 0] - torch.from_numpy(valid.labels.astype(np.float32))).square()
        return float((losses * weight).sum() / weight.sum())
    labels = torch.from_numpy(valid.labels)
    scaled = (functional.cross_entropy(logits / t, labels, reduction="none") for t in TRIED_TEMPERATURES)
    return min(float((losses * weight).sum() / weight.sum()) for losses in scaled)


TRIED_TEMPERATURES = (0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
"""The student is calibrated later: which epoch is best must not hang on how sure it is of itself."""


def answers(network: nn.Module, pixels: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """``(n, K)`` float32 logits of the network, which is not in training."""
    network.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        some = [network(rows).float() for rows in torch.split(pixels, ROWS_AT_ONCE)]
    return np.asarray(torch.cat(some).numpy(), dtype=np.float32)


def _optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; scales, shifts and biases do not decay."""
    matrices = [weight for weight in network.parameters() if weight.dim() > 1]
    others = [weight for weight in network.parameters() if weight.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": schedule.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(groups, lr=schedule.learning_rate, momentum=MOMENTUM, nesterov=True)
