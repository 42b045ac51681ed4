"""From which confidence on the student may answer alone: what each threshold costs and keeps."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.types import Doubles, Floats, Ints

_Z95 = 1.959963984540054
POINTS = 101
"""Points of a curve: a hundredth of the rows each."""


class CascadePoint(msgspec.Struct, frozen=True):
    """What a cascade is worth at one threshold.

    Parameters
    ----------
    threshold
        The student answers where its most probable class has at least this probability.
    share
        Of the rows that the student answers.
    accuracy, low, high
        Share of right answers and its 95 % interval.
    difference, difference_low, difference_high
        Accuracy less that of the ensemble alone, on the same rows, and its paired 95 % interval.
    mean_us, p99_us
        Latency of one row; None where it was not measured.
    """

    threshold: float
    share: float
    accuracy: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    mean_us: float | None = None
    p99_us: float | None = None


class Latencies(msgspec.Struct, frozen=True):
    """One-row latencies in microseconds, as measured: of the student, and of the ensemble."""

    student_us: tuple[float, ...]
    ensemble_us: tuple[float, ...]


def cascade_point(
    student: Floats, ensemble: Floats, labels: Ints, threshold: float, latencies: Latencies | None = None
) -> CascadePoint:
    """What a cascade is worth at ``threshold``.

    Parameters
    ----------
    student, ensemble
        ``(n, K)`` probabilities.
    labels
        ``(n,)`` class indices.

    Raises
    ------
    UserError
        There are no rows.
    """
    if not len(labels):
        raise UserError("A cascade is measured on labelled rows; got none.")
    alone = student.max(axis=1) >= np.float32(threshold)
    right = np.where(alone, student.argmax(axis=1), ensemble.argmax(axis=1)) == labels
    better = right.astype(np.float64) - (ensemble.argmax(axis=1) == labels)
    share, accuracy = float(alone.mean()), float(right.mean())
    low, high = _wilson(accuracy, len(labels))
    half = _Z95 * float(better.std()) / math.sqrt(len(labels))
    mean_us, p99_us = (None, None) if latencies is None else _mixture(latencies, share)
    return CascadePoint(
        threshold=threshold,
        share=share,
        accuracy=accuracy,
        low=low,
        high=high,
        difference=float(better.mean()),
        difference_low=float(better.mean()) - half,
        difference_high=float(better.mean()) + half,
        mean_us=mean_us,
        p99_us=p99_us,
    )


def cascade_curve(
    student: Floats, ensemble: Floats, labels: Ints, latencies: Latencies | None = None
) -> tuple[CascadePoint, ...]:
    """`cascade_point` from a student that answers nothing to one that answers all, about 1 % a step."""
    return tuple(
        cascade_point(student, ensemble, labels, threshold, latencies) for threshold in _thresholds(student)
    )


def choose_threshold(student: Floats, ensemble: Floats, labels: Ints, *, keep: float) -> float:
    """The threshold at which the student answers most rows and ``keep`` of the ensemble's accuracy is kept.

    Parameters
    ----------
    keep
        Share of the ensemble's accuracy, in (0, 1]: 0.99 gives up a hundredth of it.

    Raises
    ------
    UserError
        ``keep`` is no such share, or there are no rows.
    """
    if not 0.0 < keep <= 1.0:
        raise UserError(
            f"Wanted a share of the ensemble's accuracy above 0 and up to 1, got {keep:g}.",
            hint="0.99 keeps 99 % of it.",
        )
    curve = cascade_curve(student, ensemble, labels)
    wanted = keep * float((ensemble.argmax(axis=1) == labels).mean())
    kept = [point for point in curve if point.accuracy >= wanted - 1e-12]
    if not kept:  # a student that is certain where it is wrong leaves none: then the best there is
        return max(curve, key=lambda point: point.accuracy).threshold
    return max(kept, key=lambda point: point.share).threshold


def _thresholds(student: Floats) -> list[float]:
    """Thresholds from 1 and more down to the least sure row's, few digits each."""
    confidence = np.sort(student.max(axis=1).astype(np.float64)) if len(student) else np.zeros(1)
    steps: NDArray[Any] = np.quantile(confidence, np.linspace(1, 0, POINTS))
    # rounded down, so that a threshold stands on the same side of the rows it was taken from
    return list(dict.fromkeys([1.0, *(math.floor(step * 1e5) / 1e5 for step in steps.tolist())]))


def _mixture(latencies: Latencies, share: float) -> tuple[float, float]:
    """Mean and p99 of rows of which ``share`` are the student's, and the rest take both their times."""
    alone = np.array(latencies.student_us)
    both = np.array(latencies.ensemble_us) + alone.mean()
    mean = share * float(alone.mean()) + (1 - share) * float(both.mean())
    values = np.concatenate([alone, both])
    weights: Doubles = np.concatenate(
        [np.full(len(alone), share / len(alone)), np.full(len(both), (1 - share) / len(both))]
    )
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return mean, float(values[order][min(int(np.searchsorted(upto, 0.99)), len(values) - 1)])


def _wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share, Wilson 1927; evaluation is a room beside this one."""
    centre = (share + _Z95**2 / (2 * n)) / (1 + _Z95**2 / n)
    half = _Z95 / (1 + _Z95**2 / n) * math.sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)
