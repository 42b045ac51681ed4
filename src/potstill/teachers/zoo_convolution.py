"""How the networks of the default ensemble for pictures learn and answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.modalities.mirroring import mirrors_alike
from potstill.networks import views
from potstill.networks.convolution import FIXED, Layer, Weights, folded, forward, initial_weights, kind_of
from potstill.networks.dense_head import losses_of
from potstill.networks.pictures import Pictures, laid_out, pixel_scale
from potstill.networks.precision import cores, half_precision
from potstill.teachers.lessons import mass_of, targets_of
from potstill.types import Doubles, Floats, Labels, Task

if TYPE_CHECKING:
    from potstill.teachers.zoo_images import ConvolutionalMember

ROWS_AT_ONCE = 512
WARM_UP = 0.15
FIRST_SHARE, LATER_RATE = 5 / 6, 0.25
"""Part of the epochs that the first course of a training has, and the highest learning rate of the others,
where that of the first is 1."""
AVERAGING_EPOCHS, STRIDE = 1.0, 4
"""Epochs over which weights are averaged, and steps from one that counts to the next."""
LEAST_LEFT = 0.5
"""Part of a picture that is left at least where another is mixed in or pasted on it."""


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network.

    Parameters
    ----------
    layers
        As in `potstill.networks.convolution`.
    snapshots
        Its weights, folded, as they were at the end of each course of training; the answer is the mean.
    scale
        ``(C,)`` mean and spread of the training pixels.
    flips
        Whether mirrored pictures look alike: then it answers both and takes the mean.
    """

    layers: Sequence[Layer]
    snapshots: Sequence[Weights]
    scale: tuple[Floats, Floats]
    flips: bool

    @property
    def n_parameters(self) -> int:
        """Trained numbers, of all snapshots."""
        return sum(weight.numel() for weights in self.snapshots for weight in weights.values())

    def logits(self, pixels: NDArray[np.uint8]) -> Floats:
        """``(n, K)`` float32 for ``(n, H, W, C)`` pixels."""
        inputs = Pictures.of(pixels, self.scale)
        found = [np.zeros((0, len(self.snapshots[0]["logit_bias"])), np.float32)]
        with cores(1), torch.inference_mode(), half_precision():
            for some in torch.split(inputs.pixels, ROWS_AT_ONCE) if len(pixels) else ():
                planes = [inputs.planes(each) for each in ((some, some.flip(2)) if self.flips else (some,))]
                answers = [self._answered(weights, planes) for weights in self.snapshots]
                found.append(_mean_of(torch.stack(answers)).numpy())
        return np.concatenate(found)

    def _answered(self, weights: Weights, planes: Sequence[Tensor]) -> Tensor:
        answers = [forward(self.layers, weights, each).float() for each in planes]
        return torch.stack(answers).mean(dim=0)


def _mean_of(logits: Tensor) -> Tensor:
    """The logits of the mean probabilities of ``(s, n, K)`` logits; the mean of ``(s, n, 1)`` values."""
    if len(logits) == 1:
        return logits[0]
    return logits.mean(dim=0) if logits.shape[2] == 1 else logits.log_softmax(dim=2).logsumexp(dim=0)


def fit_network(
    member: ConvolutionalMember,
    pixels: NDArray[np.uint8],
    labels: Labels,
    weight: Doubles | None,
    task: Task,
    *,
    seed: int,
) -> Network:
    """Train the member's network on ``(n, H, W, C)`` pixels and labels or standardised values ``(n,)``."""
    scale, flips = pixel_scale(pixels), mirrors_alike(pixels, labels)
    layers = member.layers(pixels.shape[1:])
    draws = torch.Generator().manual_seed(seed)
    weights = initial_weights(layers, np.zeros(task.n_outputs, np.float32), draws)
    targets = targets_of(labels, task, smoothing=member.smoothing)
    mass = mass_of(weight, len(pixels))
    with cores(1):
        trained = _trained(
            member,
            layers,
            laid_out(weights),
            Pictures.of(pixels, scale),
            (targets, mass),
            flips=flips,
            draws=draws,
        )
    return Network(layers, [folded(layers, weights) for weights in trained], scale, flips)


def _trained(
    member: ConvolutionalMember,
    layers: Sequence[Layer],
    weights: Weights,
    inputs: Pictures,
    told: tuple[Tensor, Tensor],
    *,
    flips: bool,
    draws: torch.Generator,
) -> list[Weights]:
    """The averaged weights after each course; ``told`` are targets ``(n, K)`` and weights ``(n,)``."""
    targets, mass = told
    for name, weight in weights.items():
        weight.requires_grad_(kind_of(name) not in FIXED)
    averaged = {name: weight.detach().clone() for name, weight in weights.items()}
    optimizer = _optimizer(member, weights)
    batch = min(member.batch_size, max(16, len(inputs) // 8))
    steps = max(1, len(inputs) // batch)
    keep = math.exp(-STRIDE / max(1.0, AVERAGING_EPOCHS * steps))
    shift = round(member.shift * min(inputs.pixels.shape[1:3]))
    courses = Courses(member.epochs, member.snapshots)
    kept: list[Weights] = []
    step = 0
    for epoch in range(member.epochs):
        order = torch.randperm(len(inputs), generator=draws)
        for rows in torch.split(order, batch)[:steps]:
            for group in optimizer.param_groups:
                group["lr"] = member.learning_rate * courses.rate(step / steps)
            pixels = views.moved(inputs.pixels, rows, shift=shift, flips=flips, draws=draws)
            wanted = targets[rows]
            if member.mixing != "none" and float(torch.rand(1, generator=draws)) < member.mixed_share:
                pixels, wanted = _mixed(member.mixing, pixels, wanted, draws)
            with half_precision():
                logits = forward(layers, weights, inputs.planes(pixels), learning=True)
            loss = (losses_of(logits.float(), wanted) * mass[rows]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            if step % STRIDE == 0 or step % steps == 0:
                with torch.no_grad():
                    current = min(keep, step / (step + 9 * STRIDE))
                    torch._foreach_lerp_(list(averaged.values()), list(weights.values()), 1 - current)
        if epoch + 1 in courses.ends:
            kept.append({name: weight.clone() for name, weight in averaged.items()})
    return kept


def _optimizer(member: ConvolutionalMember, weights: Weights) -> torch.optim.Optimizer:
    """AdamW; only kernels and the last layer's weights decay."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for weight in weights.values():
        if weight.requires_grad:
            groups[weight.ndim > 1].append(weight)
    parameters = [
        {"params": group, "weight_decay": member.weight_decay if decays else 0.0}
        for decays, group in groups.items()
    ]
    return torch.optim.AdamW(parameters, lr=member.learning_rate, betas=(0.9, 0.99), fused=True)


class Courses:
    """When the courses of a training end, and the learning rate on the way.

    The first takes most of the epochs, the others the rest in equal parts, and begin at a lower rate.

    Parameters
    ----------
    epochs
        In all.
    count
        Courses; there are fewer where some would have no epoch.

    References
    ----------
    Huang et al. (2017), Snapshot Ensembles: Train 1, get M for free.
    """

    def __init__(self, epochs: int, count: int) -> None:
        first = epochs if count == 1 else math.ceil(FIRST_SHARE * epochs)
        after = np.linspace(first, epochs, count).round().astype(int).tolist()
        self.ends: list[int] = sorted({*after, epochs})

    def rate(self, epoch: float) -> float:
        """Part of the learning rate: in each course a linear rise, then half a cosine to 0."""
        course = next(i for i, end in enumerate(self.ends) if epoch < end)
        begin = self.ends[course - 1] if course else 0
        done = (epoch - begin) / (self.ends[course] - begin)
        highest = LATER_RATE if course else 1.0
        if done < WARM_UP:
            return highest * (done + 0.01) / (WARM_UP + 0.01)
        return highest * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _mixed(mixing: str, pixels: Tensor, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of pictures mixed as the member does it, and the targets mixed alike."""
    share = 1 - (1 - LEAST_LEFT) * torch.rand(len(pixels), generator=draws)
    if mixing == "cutout":
        return views.pasted(pixels, torch.zeros_like(pixels), (1 + share) / 2, draws=draws)[0], targets
    partners = torch.randperm(len(pixels), generator=draws)
    if mixing == "mixup":
        pixels = views.mixed(pixels, pixels[partners], share)
    else:
        pixels, share = views.pasted(pixels, pixels[partners], share, draws=draws)
    part = share[:, None]
    return pixels, part * targets + (1 - part) * targets[partners]
