"""Whether pictures may be mirrored."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from potstill.modalities.mirroring import mirrors_alike

RNG = np.random.default_rng(0)


def test_digits_may_not() -> None:
    pixels, digits = load_digits(return_X_y=True)
    pictures = (pixels * 15).astype(np.uint8).reshape(-1, 8, 8, 1)
    assert not mirrors_alike(pictures, digits)
    assert not mirrors_alike(pictures, digits.astype(np.float64))


def test_what_faces_either_way_may() -> None:
    n = 300
    pictures = RNG.integers(0, 60, (n, 20, 40, 3)).astype(np.uint8)
    high, right = RNG.random(n) < 0.5, RNG.random(n) < 0.5
    for row in range(n):
        top, left = (2 if high[row] else 12), (25 if right[row] else 5)
        pictures[row, top : top + 6, left : left + 10] = 255
    assert mirrors_alike(pictures, high.astype(np.int64))
    assert not mirrors_alike(pictures, right.astype(np.int64))


def test_of_a_few_pictures_nothing_is_known() -> None:
    assert mirrors_alike(np.zeros((10, 8, 8, 1), np.uint8), np.arange(10))
