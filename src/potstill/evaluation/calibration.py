"""Data of reliability curves: what a model says against what happens."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.evaluation.metrics import Binning, bin_index
from potstill.types import Ints


class ReliabilityCurve(msgspec.Struct, frozen=True):
    """A reliability curve; empty bins are left out.

    Parameters
    ----------
    confidence
        Mean predicted probability of each bin, rising.
    observed
        Share of rows of the bin where the predicted thing was so.
    low, high
        95 % Wilson interval of ``observed`` by the bin's number of rows.
    counts
        Rows of each bin.
    of
        ``positive``: probability of the positive class. ``top``: probability of the most probable class.
    """

    confidence: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    counts: tuple[int, ...]
    of: str = "top"


def reliability_curve(
    probs: NDArray[Any],
    labels: Ints,
    weight: NDArray[Any] | None = None,
    *,
    bins: int = 15,
    binning: Binning = "mass",
) -> ReliabilityCurve:
    """What the model says against what happens, bin by bin.

    Of the positive class for two classes, of the most probable class for more. Bins have equal mass unless
    told otherwise, so each point stands on about as many rows.

    Parameters
    ----------
    probs
        ``(n, K)`` probabilities.
    labels
        ``(n,)`` class indices.
    weight
        ``(n,)`` sample weights or None.
    """
    binary = probs.shape[1] == 2
    said = (probs[:, 1] if binary else probs.max(axis=1)).astype(np.float64)
    happened = labels == 1 if binary else np.argmax(probs, axis=1) == labels
    mass = np.ones(len(labels)) if weight is None else weight.astype(np.float64)
    index = bin_index(said, mass, bins=bins, binning=binning)
    weights = np.bincount(index, weights=mass, minlength=bins)
    filled = weights > 0.0
    counts = np.bincount(index, minlength=bins)[filled]
    confidence = np.bincount(index, weights=mass * said, minlength=bins)[filled] / weights[filled]
    observed = np.bincount(index, weights=mass * happened, minlength=bins)[filled] / weights[filled]
    low, high = wilson_interval(observed, counts)
    return ReliabilityCurve(
        confidence=tuple(confidence.tolist()),
        observed=tuple(observed.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        counts=tuple(counts.tolist()),
        of="positive" if binary else "top",
    )


def wilson_interval(share: NDArray[Any], n: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """95 % interval of a share seen in ``n`` rows.

    References
    ----------
    Wilson 1927, Probable inference, the law of succession, and statistical inference.
    """
    z = 1.959963984540054
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
