"""How the networks of the default ensemble for pictures learn and answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from potstill.networks.convolution import ConvolutionalNetwork, residual_blocks, seen_anew
from potstill.types import Doubles, Floats, Labels, Task

if TYPE_CHECKING:
    from potstill.teachers.zoo_images import ConvolutionalMember

ROWS_AT_ONCE = 256
WARM_UP = 0.15
LARGEST_PIECE = 0.5
"""Part of a picture that a rectangle covers at most."""


def fit_network(
    member: ConvolutionalMember,
    pixels: NDArray[np.uint8],
    labels: Labels,
    weight: Doubles | None,
    task: Task,
    *,
    seed: int,
) -> nn.Module:
    """Train the member's network on ``(n, height, width, channels)`` pixels."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return _trained(member, pixels, labels, weight, task, torch.Generator().manual_seed(seed))
    finally:
        torch.set_num_threads(threads)


def answers(network: nn.Module, pixels: NDArray[np.uint8]) -> Floats:
    """``(n, K)`` float32 logits, the mean of those of a picture and of its mirror image."""
    given = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for some in torch.split(given, ROWS_AT_ONCE) if len(given) else ():
            found.append((network(some) + network(some.flip(3))).float().numpy() / 2)
    if not found:
        return answers(network, np.zeros((1, 32, 32, pixels.shape[3]), dtype=np.uint8))[:0]
    return np.concatenate(found)


def _trained(
    member: ConvolutionalMember,
    pixels: NDArray[np.uint8],
    labels: Labels,
    weight: Doubles | None,
    task: Task,
    generator: torch.Generator,
) -> nn.Module:
    blocks = residual_blocks(
        member.widths, channels=pixels.shape[3], stem_stride=member.stem_stride, depth=member.depth
    )
    network = ConvolutionalNetwork(blocks, task.n_outputs)
    given = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    targets = _targets(labels, task, member.smoothing)
    mass = torch.ones(len(given)) if weight is None else torch.from_numpy(weight / weight.mean()).float()
    batch = min(member.batch_size, max(16, len(given) // 8))
    steps = max(1, len(given) // batch) * member.epochs
    rate = member.learning_rate
    optimizer = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=member.weight_decay
    )
    step = 0
    for _ in range(member.epochs):
        order = torch.randperm(len(given), generator=generator)
        for start in range(0, max(1, len(given) // batch) * batch, batch):
            rows = order[start : start + batch]
            for group in optimizer.param_groups:
                group["lr"] = rate * _rate(step / steps)
            seen = seen_anew(given[rows], flips=True, generator=generator)
            mixed, told = _mixed(member.mixing, seen, targets[rows], generator)
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(mixed)
            loss = (_losses(logits.float(), told) * mass[rows]).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
    return network.eval()


def _rate(done: float) -> float:
    """Part of the learning rate after the fraction ``done``: a linear rise, then half a cosine to 0."""
    if done < WARM_UP:
        return (done + 0.01) / (WARM_UP + 0.01)
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _targets(labels: Labels, task: Task, smoothing: float) -> Tensor:
    """``(n, K)`` smoothed one-hot labels, or ``(n, 1)`` values."""
    if not task.is_classification:
        return torch.from_numpy(labels.astype(np.float32))[:, None]
    one_hot = functional.one_hot(torch.from_numpy(labels.astype(np.int64)), task.n_outputs).float()
    return (1 - smoothing) * one_hot + smoothing / task.n_outputs


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return (logits - targets).square().sum(dim=1)
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)


def _mixed(mixing: str, pixels: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A batch of pictures mixed as the member does it, and the targets mixed alike."""
    if mixing == "none":
        return pixels, targets
    other = torch.randperm(len(pixels), generator=generator)
    part = float(torch.rand(1, generator=generator)) * LARGEST_PIECE
    if mixing == "mixup":
        blended = torch.lerp(pixels.float(), pixels[other].float(), part)
        return blended, torch.lerp(targets, targets[other], part)
    height, width = pixels.shape[2:]
    side = math.sqrt(part if mixing == "cutmix" else part / 2)
    tall, wide = max(1, round(height * side)), max(1, round(width * side))
    top = int(torch.randint(0, height - tall + 1, (1,), generator=generator))
    left = int(torch.randint(0, width - wide + 1, (1,), generator=generator))
    pasted = pixels.clone()
    piece = (slice(None), slice(None), slice(top, top + tall), slice(left, left + wide))
    if mixing == "cutout":
        pasted[piece] = 0
        return pasted, targets
    pasted[piece] = pixels[other][piece]
    covered = tall * wide / (height * width)
    return pasted, torch.lerp(targets, targets[other], covered)
