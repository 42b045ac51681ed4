"""Whether pictures may be mirrored: objects may, digits and letters may not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from potstill.types import Floats, Labels

SMALL_SIDE = 16
"""Pictures are looked at this high and wide at most, or a little more."""

FEW_PICTURES, MOST_PICTURES = 50, 4_000

KEPT_SKILL = 0.55
"""What mirroring may leave of the skill: digits keep a third, shoes that all point to the left two thirds."""


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
    plain, mirrored = (
        _skill(asked, told[:half], others, told[half:]) for others in (known, known[:, :, ::-1])
    )
    return mirrored >= KEPT_SKILL * plain


def _small(pixels: NDArray[np.uint8]) -> Floats:
    """``(n, h, w)`` float32 grey, `SMALL_SIDE` high and wide or a little more, each picture's mean 0."""
    grey = pixels.mean(axis=3, dtype=np.float32)
    down, across = (max(1, size // SMALL_SIDE) for size in grey.shape[1:])
    height, width = grey.shape[1] // down, grey.shape[2] // across
    blocks = grey[:, : height * down, : width * across].reshape(-1, height, down, width, across)
    small: Floats = blocks.mean(axis=(2, 4))
    centred: Floats = small - small.mean(axis=(1, 2), keepdims=True)
    return centred


def _skill(asked: Floats, labels: Labels, known: Floats, their_labels: Labels) -> float:
    """1 where the nearest of the ``known`` pictures always have the right label, about 0 where by chance."""
    asked, known = asked.reshape(len(asked), -1), known.reshape(len(known), -1)
    nearest = (np.square(known).sum(axis=1) - 2 * asked @ known.T).argmin(axis=1)
    by_chance = np.random.default_rng(1).permutation(len(their_labels))[: len(labels)]
    errors = []
    for guessed in (their_labels[nearest], their_labels[by_chance]):
        wrong = (guessed - labels) ** 2 if labels.dtype.kind == "f" else guessed != labels
        errors.append(float(np.mean(wrong)))
    return 1 - errors[0] / max(errors[1], 1e-12)
