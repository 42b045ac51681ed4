"""Pictures as convolutional networks take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.types import Floats


@dataclass(frozen=True)
class Pictures:
    """Pixels, and what normalises them.

    Parameters
    ----------
    pixels
        ``(n, H, W, C)`` uint8.
    mean, spread
        ``(C,)`` float32 of the training pictures.
    """

    pixels: Tensor
    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], scale: tuple[Floats, Floats], device: str = "cpu") -> Self:
        """``(n, H, W, C)`` pixels with the mean and spread that `pixel_scale` found in training ones."""
        given = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (pixels, *scale))
        return cls(*given)

    def __len__(self) -> int:
        return len(self.pixels)

    def planes(self, pixels: Tensor) -> Tensor:
        """``(n, H, W, C)`` pixels normalised, as ``(n, C, H, W)`` with the channels last in memory."""
        return ((pixels.float() - self.mean) / self.spread).permute(0, 3, 1, 2)


def pixel_scale(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """``(C,)`` mean and standard deviation of the channels, the latter 1 where nothing varies."""
    counts = [np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(pixels.shape[3])]
    values, total = np.arange(256.0), max(1, pixels[..., 0].size)
    mean = np.array([count @ values / total for count in counts])
    spread = np.sqrt([count @ (values - m) ** 2 / total for count, m in zip(counts, mean, strict=True)])
    return mean.astype(np.float32), np.where(spread > 0, spread, 1).astype(np.float32)


def laid_out(weights: dict[str, Tensor], device: str = "cpu") -> dict[str, Tensor]:
    """Weights on the device, kernels with the channels last in memory as pictures have them."""
    moved = {name: weight.to(device) for name, weight in weights.items()}
    return {
        name: weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight
        for name, weight in moved.items()
    }
