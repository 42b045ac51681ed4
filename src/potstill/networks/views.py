"""Views of pictures: shifted, mirrored, turned, mixed, pasted together. On torch tensors, in batches."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


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
    down, right = (
        (torch.rand(n_rows, 1, generator=draws) * (2 * shift + 1)).floor().long() - shift for _ in range(2)
    )
    across = torch.arange(width).expand(n_rows, width)
    if flips:
        mirrored = torch.rand(n_rows, 1, generator=draws) < 0.5
        across = torch.where(mirrored, width - 1 - across, across)
    tops = _reflected(torch.arange(height) + down, height)
    return pixels[rows[:, None, None], tops[:, :, None], _reflected(across + right, width)[:, None, :]]


def warped(pixels: Tensor, *, shift: float, turn: float, zoom: float, draws: torch.Generator) -> Tensor:
    """Pictures shifted by whole pixels, turned and zoomed at random; what they no longer cover is reflected.

    Parameters
    ----------
    pixels
        ``(n, H, W, C)`` uint8.
    shift
        Part of the height and of the width that a picture is moved at most.
    turn
        Degrees that it is turned at most, either way.
    zoom
        By how much its size changes at most, as a logarithm; height and width may differ by half of it.
    draws
        Where chance comes from.

    Returns
    -------
    ``(n, H, W, C)`` uint8.
    """
    n_rows, (height, width) = len(pixels), pixels.shape[1:3]

    def up_to(most: float) -> Tensor:
        return most * (2 * torch.rand(n_rows, generator=draws) - 1)

    angle, scale, taller = up_to(math.radians(turn)), up_to(zoom).exp(), up_to(zoom / 4).exp()
    # Places are counted from -1 to 1: a pixel is 2 / width of that.
    right, down = ((up_to(shift) * size).round() * 2 / size for size in (width, height))
    across = torch.stack([scale * taller * angle.cos(), -scale * taller * angle.sin(), right], dim=1)
    along = torch.stack([scale / taller * angle.sin(), scale / taller * angle.cos(), down], dim=1)
    planes = pixels.permute(0, 3, 1, 2).float()
    places = functional.affine_grid(
        torch.stack([across, along], dim=1), list(planes.shape), align_corners=False
    )
    seen = functional.grid_sample(planes, places, padding_mode="reflection", align_corners=False)
    return seen.round().to(torch.uint8).permute(0, 2, 3, 1)


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
