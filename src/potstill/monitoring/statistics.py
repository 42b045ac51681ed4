"""How far two counted distributions are apart. Pure functions of counts; numpy and ``math`` only.

All take ``(B,)`` counts of the same bins, ``reference`` and ``live``, and give ``nan`` where either is empty.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.types import Doubles

PSEUDO_COUNT = 0.5
"""Added to every bin before the logarithm of `psi`: an empty bin is rare, not impossible."""

FEW_EXPECTED = 5.0
"""Bins of which fewer rows are expected are pooled before `chi2`, whose distribution is wrong below it."""

_ROUNDS = 500
_TINY = 1e-300


def psi(reference: NDArray[Any], live: NDArray[Any]) -> float:
    """Population stability index: Σ (q − p) ln(q / p) over the bins, with `PSEUDO_COUNT`.

    0 for equal shares; above 0.2 is commonly called a large shift. Without any shift its mean is about
    (B − 1)(1/n + 1/m), so it means little where rows are few: ask `chi2` as well.
    """
    if not reference.sum() or not live.sum():
        return math.nan
    p, q = _smoothed(reference), _smoothed(live)
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: NDArray[Any], live: NDArray[Any]) -> float:
    """Jensen–Shannon distance, base 2: the root of the divergence, between 0 and 1."""
    if not reference.sum() or not live.sum():
        return math.nan
    p, q = reference / reference.sum(), live / live.sum()
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return math.sqrt(max(divergence, 0.0))


def kolmogorov_smirnov(reference: NDArray[Any], live: NDArray[Any]) -> tuple[float, float]:
    """Largest distance of the cumulative shares at the bins' edges, and its p-value.

    Between the edges nothing is known, so the distance is at most that of the values themselves and the
    (asymptotic, two-sided) p-value is on the safe side. For ordered bins only.
    """
    n, m = float(reference.sum()), float(live.sum())
    if not n or not m:
        return math.nan, math.nan
    distance = float(np.abs(np.cumsum(reference) / n - np.cumsum(live) / m).max())
    return distance, kolmogorov_sf(distance * math.sqrt(n * m / (n + m)))


def chi2(reference: NDArray[Any], live: NDArray[Any]) -> tuple[float, float]:
    """χ² of homogeneity of the two rows of counts and its p-value, small bins pooled (`FEW_EXPECTED`)."""
    table = np.stack([reference, live]).astype(np.float64)
    if not table.sum(axis=1).all():
        return math.nan, math.nan
    table = _pooled(table[:, table.sum(axis=0) > 0])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    degrees = table.shape[1] - 1
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, chi2_sf(statistic, degrees)


def share_rise(reference: int, n_reference: int, live: int, n_live: int) -> tuple[float, float]:
    """By how much a share has risen, and the one-sided p-value of a rise (pooled two-sample z-test)."""
    if not n_reference or not n_live:
        return math.nan, math.nan
    rise = live / n_live - reference / n_reference
    pooled = (reference + live) / (n_reference + n_live)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n_reference + 1 / n_live))
    return rise, 0.5 * math.erfc(rise / spread / math.sqrt(2)) if spread else 1.0


def kolmogorov_sf(scaled: float) -> float:
    """P(K > scaled) of the Kolmogorov distribution: 2 Σ (−1)^(j−1) exp(−2 j² scaled²)."""
    if scaled < 0.2:  # the sum below converges slowly there, to 1 within 1e-12
        return 1.0
    total = math.fsum((-1.0) ** (j - 1) * math.exp(-2.0 * (j * scaled) ** 2) for j in range(1, 101))
    return min(max(2.0 * total, 0.0), 1.0)


def chi2_sf(statistic: float, degrees: int) -> float:
    """P(χ² > statistic) with so many degrees of freedom; 1 for none."""
    if degrees < 1 or statistic <= 0.0:
        return 1.0
    shape, x = degrees / 2, statistic / 2
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    if x < shape + 1:
        return min(max(1.0 - front * _lower_series(shape, x), 0.0), 1.0)
    return min(max(front * _upper_fraction(shape, x), 0.0), 1.0)


def _lower_series(shape: float, x: float) -> float:
    """γ(shape, x) / (x^shape e^−x), DLMF 8.7.1."""
    term = total = 1.0 / shape
    for k in range(1, _ROUNDS):
        term *= x / (shape + k)
        total += term
        if term < total * 1e-16:
            break
    return total


def _upper_fraction(shape: float, x: float) -> float:
    """Γ(shape, x) / (x^shape e^−x), the even part of DLMF 8.9.2 by Lentz's method."""
    b = x + 1.0 - shape
    c, d = 1.0 / _TINY, 1.0 / b
    value = d
    for k in range(1, _ROUNDS):
        a = -k * (k - shape)
        b += 2.0
        d = 1.0 / ((a * d + b) or _TINY)
        c = (b + a / c) or _TINY
        value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return value


def _smoothed(counts: NDArray[Any]) -> Doubles:
    raised = counts + PSEUDO_COUNT
    return np.asarray(raised / raised.sum(), dtype=np.float64)


def _relative_entropy(p: NDArray[Any], q: NDArray[Any]) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))


def _pooled(table: Doubles) -> Doubles:
    """``(2, B)`` counts with too small bins as one, and that with the next if it is still too small."""
    share = table.sum(axis=1).min() / table.sum()
    order = np.argsort(-table.sum(axis=0), kind="stable")
    sorted_table = table[:, order]
    small = sorted_table.sum(axis=0) * share < FEW_EXPECTED
    if not small.any():
        return table
    first = int(small.argmax())
    pooled = sorted_table[:, first:].sum()
    if pooled * share < FEW_EXPECTED and first > 0:
        first -= 1
    return np.concatenate([sorted_table[:, :first], sorted_table[:, first:].sum(axis=1, keepdims=True)], 1)
