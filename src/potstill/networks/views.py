"""Views of pictures: shifted, mirrored, mixed, pasted together. On torch tensors, whole batches at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(
    pixels: Tensor, rows: Tensor, *, shift: int | Tensor, flips: bool, draws: torch.Generator
) -> Tensor:
    """Pictures shifted at random, what leaves on one side reflected, and every second one mirrored.

    Parameters
    ----------
    pixels
        ``(N, H, W, C)`` of any type.
    rows
        ``(n,)`` int64 which pictures.
    shift
        Pixels up, down, left and right at most; 0 for none. ``(n,)`` for one of each picture.
    flips
        Whether left and right are exchanged in half of them.
    draws
        Where chance comes from.

    Returns
    -------
    ``(n, H, W, C)`` of the same type.
    """
    n_rows, (height, width) = len(rows), pixels.shape[1:3]
    most = torch.as_tensor(shift).expand(n_rows)[:, None]
    down, right = (
        (torch.rand(n_rows, 1, generator=draws) * (2 * most + 1)).floor().long() - most for _ in range(2)
    )
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
