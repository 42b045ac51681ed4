"""Views of pictures: shifted, mirrored, mixed, pasted together. On torch tensors, whole batches at a time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.types import Labels

SMALL_SIDE = 16
"""`mirrors_alike` looks at pictures at most so high and wide."""

FEW_PICTURES, MOST_PICTURES = 50, 4_000

KEPT_SKILL = 0.55
"""What mirroring may leave of the skill: digits keep a third, shoes that all point to the left two thirds."""


def moved(pixels: Tensor, rows: Tensor, *, shift: int, flips: bool, draws: torch.Generator) -> Tensor:
    """Pictures shifted at random, what leaves on one side reflected, and every second one mirrored.

    Parameters
    ----------
    pixels
        ``(N, H, W, C)`` of any type.
    rows
        ``(n,)`` int64 which pictures.
    shift
        Pixels up, down, left and right at most; 0 for none.
    flips
        Whether left and right are exchanged in half of them.
    draws
        Where chance comes from.

    Returns
    -------
    ``(n, H, W, C)`` of the same type.
    """
    n_rows, (height, width) = len(rows), pixels.shape[1:3]
    down, right = (torch.randint(-shift, shift + 1, (n_rows, 1), generator=draws) for _ in range(2))
    across = torch.arange(width).expand(n_rows, width)
    if flips:
        mirrored = torch.rand(n_rows, 1, generator=draws) < 0.5
        across = torch.where(mirrored, width - 1 - across, across)
    tops = _reflected(torch.arange(height) + down, height)
    return pixels[rows[:, None, None], tops[:, :, None], _reflected(across + right, width)[:, None, :]]


def mixed(pixels: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Pictures that shine through each other, float32.

    Parameters
    ----------
    pixels, others
        ``(n, H, W, C)``.
    share
        ``(n,)`` part of ``pixels`` in the mixture.
    """
    part = share[:, None, None, None]
    return part * pixels.float() + (1 - part) * others.float()


def pasted(pixels: Tensor, others: Tensor, share: Tensor, *, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pictures on which a rectangle of another is pasted at the same place.

    Parameters
    ----------
    pixels, others
        ``(n, H, W, C)`` of one type.
    share
        ``(n,)`` part of ``pixels`` that is to be left.

    Returns
    -------
    The new pictures, and ``(n,)`` the part of ``pixels`` that is left, in whole pixels.

    References
    ----------
    Yun et al.: CutMix: regularization strategy to train strong classifiers, ICCV 2019.
    """
    sides = (1 - share).sqrt()
    within = [_span(size, sides, draws) for size in pixels.shape[1:3]]
    inside = within[0][:, :, None] & within[1][:, None, :]
    left = 1 - inside.float().mean(dim=(1, 2))
    return torch.where(inside[..., None], others, pixels), left


def mirrors_alike(pixels: NDArray[np.uint8], labels: Labels) -> bool:
    """Whether pictures with left and right exchanged still look like their labels.

    Each of one half of the pictures, small and grey, is given the label of its nearest in the other half:
    once as that is, once mirrored. Objects are recognised nearly as well then, digits and letters are not.

    Parameters
    ----------
    pixels
        ``(n, H, W, C)`` uint8.
    labels
        ``(n,)`` class indices or values, none missing.
    """
    if len(pixels) < FEW_PICTURES:
        return True
    chosen = np.random.default_rng(0).permutation(len(pixels))[:MOST_PICTURES]
    half = len(chosen) // 2
    small, told = _small(pixels[chosen]), labels[chosen]
    asked, known = small[:half], small[half:]
    plain, mirrored = (_skill(asked, told[:half], others, told[half:]) for others in (known, known.flip(2)))
    return mirrored >= KEPT_SKILL * plain


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places outside of ``0 … size - 1`` reflected into it."""
    if size == 1:
        return torch.zeros_like(places)
    return (size - 1) - ((size - 1) - places.abs()).abs()


def _span(size: int, sides: Tensor, draws: torch.Generator) -> Tensor:
    """``(n, size)`` where a stretch of ``sides`` of the size, at a random place, lies."""
    length = (sides * size).round()
    first = (torch.rand(len(sides), generator=draws) * (size - length + 1)).floor()
    places = torch.arange(size)
    return (places >= first[:, None]) & (places < (first + length)[:, None])


def _small(pixels: NDArray[np.uint8]) -> Tensor:
    """``(n, h, w)`` float32 grey, at most `SMALL_SIDE` high and wide, each picture's mean 0."""
    planes = torch.from_numpy(pixels).float().mean(dim=3)
    sides = min(planes.shape[1], SMALL_SIDE), min(planes.shape[2], SMALL_SIDE)
    small = torch.nn.functional.adaptive_avg_pool2d(planes[:, None], sides)[:, 0]
    return small - small.mean(dim=(1, 2), keepdim=True)


def _skill(asked: Tensor, labels: Labels, known: Tensor, their_labels: Labels) -> float:
    """1 where the nearest of the ``known`` pictures always have the right label, about 0 where by chance."""
    asked, known = asked.flatten(1), known.flatten(1)
    nearest = (known.square().sum(dim=1) - 2 * asked @ known.T).argmin(dim=1).numpy()
    by_chance = np.random.default_rng(1).permutation(len(their_labels))[: len(labels)]
    errors = []
    for guessed in (their_labels[nearest], their_labels[by_chance]):
        wrong = (guessed - labels) ** 2 if labels.dtype.kind == "f" else guessed != labels
        errors.append(float(np.mean(wrong)))
    return 1 - errors[0] / max(errors[1], 1e-12)
