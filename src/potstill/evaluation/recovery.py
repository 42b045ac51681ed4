"""How much of the teacher's edge over the hard-label twin the student recovers, and how sure that is.

    gap recovered = (student - twin) / (teacher - twin)

1 where the student is as good as the teacher, 0 where distilling won nothing over training on the labels,
negative where the twin is better.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.evaluation.metrics import log_losses, squared_errors
from potstill.types import Doubles, Labels

EXACT_UNITS = 8192
"""Up to so many distinct units, resamples are multinomial; beyond, Poisson: six times faster."""

_CHUNK_BYTES = 1 << 25
_POISSON_BITS = 16

ROUNDING = 1e-12
"""Differences of mean losses below this part of the losses themselves are rounding."""


class Interval(msgspec.Struct, frozen=True):
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def contains_zero(self) -> bool:
        return self.low <= 0.0 <= self.high


class Recovered(msgspec.Struct, frozen=True):
    """The gap recovered in one metric.

    Parameters
    ----------
    value
        The ratio on the rows as they are; None where teacher and twin are exactly equal.
    low, high
        2.5 and 97.5 percentile of the ratio over the resamples in which teacher and twin differ; None where
        they differ in none. Where ``edge_is_noise`` the denominator changes sign between resamples: the
        percentiles stay finite but the ratio has no mean and they are no confidence interval. Read ``edge``
        and ``gain`` then.
    edge_is_noise
        The interval of the teacher's edge does not lie above 0: there is no proven gap to recover. (Where the
        twin is surely the better, the ratio would praise a student for being bad.)
    edge
        What the teacher is better than the twin, in the metric's unit, positive when better.
    gain
        What the student is better than the twin, same unit.
    """

    value: float | None
    low: float | None
    high: float | None
    edge_is_noise: bool
    edge: Interval
    gain: Interval


def gap_recovered(score_teacher: float, score_twin: float, score_student: float) -> float | None:
    """``(student - twin) / (teacher - twin)``; None where teacher and twin are equal.

    Any score or loss will do, as long as all three are the same.

    Examples
    --------
    >>> gap_recovered(score_teacher=0.75, score_twin=0.5, score_student=0.625)
    0.5
    """
    edge = score_teacher - score_twin
    return None if edge == 0.0 else (score_student - score_twin) / edge


def bootstrap_gap(
    teacher: Doubles,
    twin: Doubles,
    student: Doubles,
    *,
    n: int = 2000,
    seed: int = 0,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    root: bool = False,
) -> Recovered:
    """Gap recovered with its paired bootstrap interval over rows.

    Each resample draws rows, takes the mean loss of all three models on the same rows, then the ratio.

    Parameters
    ----------
    teacher, twin, student
        ``(rows,)`` float64 losses of each row, lower is better.
    n
        Number of resamples.
    weight
        ``(rows,)`` sample weights.
    groups
        ``(rows,)`` group ids: whole groups are drawn, not rows.
    root
        Compare the roots of the mean losses: squared errors become RMSE.

    References
    ----------
    Efron and Tibshirani 1993, An introduction to the bootstrap, ch. 13 (percentile intervals).
    """
    losses = np.stack([teacher, twin, student], axis=1)
    means = resampled_means(losses, n=n, seed=seed, weight=weight, groups=groups)
    whole = np.average(losses, axis=0, weights=weight)
    if root:
        means, whole = np.sqrt(np.maximum(means, 0.0)), np.sqrt(whole)
    edges, gains = means[:, 1] - means[:, 0], means[:, 1] - means[:, 2]
    edge = _interval(float(whole[1] - whole[0]), edges)
    gain = _interval(float(whole[1] - whole[2]), gains)
    # Sums of the same losses in another order differ in their last digits: that is no difference.
    least = ROUNDING * float(np.abs(whole).max())
    differ = np.abs(edges) > least
    low, high = _percentiles(gains[differ] / edges[differ]) if differ.any() else (None, None)
    return Recovered(
        value=None if abs(edge.value) <= least else gain.value / edge.value,
        low=low,
        high=high,
        edge_is_noise=edge.low <= 0.0,
        edge=edge,
        gain=gain,
    )


def gaps_recovered(
    teacher: NDArray[Any],
    twin: NDArray[Any],
    student: NDArray[Any],
    labels: Labels,
    *,
    classification: bool,
    n: int = 2000,
    seed: int = 0,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
) -> dict[str, Recovered]:
    """Gap recovered in ``accuracy`` and ``log_loss``, or in ``r2`` and ``rmse``.

    Parameters
    ----------
    teacher, twin, student
        ``(n, K)`` probabilities, or values ``(n,)`` or ``(n, 1)``.
    labels
        ``(n,)`` class indices or values.

    Notes
    -----
    R² is linear in the mean squared error and the target's variance cancels in the ratio: ``r2`` is the gap
    in mean squared error, its ``edge`` and ``gain`` divided by the variance of these rows.
    """
    outputs = (teacher, twin, student)

    def gap(losses: list[Doubles], root: bool = False) -> Recovered:
        return bootstrap_gap(
            losses[0], losses[1], losses[2], n=n, seed=seed, weight=weight, groups=groups, root=root
        )

    if classification:
        truth = labels.astype(np.int64)
        return {
            "accuracy": gap([(probs.argmax(axis=1) != truth).astype(np.float64) for probs in outputs]),
            "log_loss": gap([log_losses(probs, truth) for probs in outputs]),
        }
    centred = labels - np.average(labels, weights=weight)
    variance = float(np.average(np.square(centred), weights=weight)) or 1.0
    errors = [squared_errors(values, labels) for values in outputs]
    return {"r2": gap([error / variance for error in errors]), "rmse": gap(errors, root=True)}


def advantages(
    outputs: Mapping[str, NDArray[Any]],
    labels: Labels,
    *,
    of: str,
    classification: bool,
    n: int = 2000,
    seed: int = 0,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
) -> dict[str, dict[str, Interval]]:
    """What one model is better by than each of the others, with paired bootstrap 95 % intervals.

    Parameters
    ----------
    outputs
        Model to probabilities ``(n, K)``, or values ``(n,)`` or ``(n, 1)``, for the same rows.
    labels
        ``(n,)`` class indices or values.
    of
        The model the others are held against.

    Returns
    -------
    dict
        Every other model to metric (``accuracy`` and ``log_loss``, or ``rmse``) to what ``of`` is better by,
        in the metric's unit, positive when better.
    """
    truth = labels.astype(np.int64) if classification else labels
    kinds: dict[str, Callable[[NDArray[Any]], Doubles]] = (
        {
            "accuracy": lambda probs: (probs.argmax(axis=1) != truth).astype(np.float64),
            "log_loss": lambda probs: log_losses(probs, truth.astype(np.int64)),
        }
        if classification
        else {"rmse": lambda values: squared_errors(values, truth)}
    )
    own, others = list(outputs).index(of), [name for name in outputs if name != of]
    found: dict[str, dict[str, Interval]] = {name: {} for name in others}
    for metric, losses_of in kinds.items():
        losses = np.stack([losses_of(answers) for answers in outputs.values()], axis=1)
        # One draw for all models: the differences are paired, and the rows are resampled once.
        means = resampled_means(losses, n=n, seed=seed, weight=weight, groups=groups)
        whole = np.average(losses, axis=0, weights=weight)
        if metric == "rmse":
            means, whole = np.sqrt(np.maximum(means, 0.0)), np.sqrt(whole)
        for place, name in enumerate(outputs):
            if name != of:
                value = float(whole[place] - whole[own])
                found[name][metric] = _interval(value, means[:, place] - means[:, own])
    return found


def difference_interval(
    a: Doubles,
    b: Doubles,
    *,
    n: int = 2000,
    seed: int = 0,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
) -> Interval:
    """Mean of ``a - b`` over rows with its paired bootstrap 95 % interval; ``a``, ``b`` are ``(rows,)``."""
    differences = (a - b)[:, None]
    means = resampled_means(differences, n=n, seed=seed, weight=weight, groups=groups)
    return _interval(float(np.average(differences[:, 0], weights=weight)), means[:, 0])


def resampled_means(
    values: Doubles,
    *,
    n: int,
    seed: int,
    weight: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
) -> Doubles:
    """Weighted means of the columns of ``values`` ``(rows, q)`` in ``n`` bootstrap resamples, ``(n, q)``.

    Up to `EXACT_UNITS` distinct units (rows of equal values are one), resamples are multinomial. Beyond, each
    unit's count is Poisson(1) and the mean is over the drawn weight: given the number drawn, the same.

    References
    ----------
    Hanley and MacGibbon 2006, Creating non-parametric bootstrap samples using Poisson frequencies.
    """
    mass = np.ones(len(values)) if weight is None else weight.astype(np.float64)
    centre = np.average(values, axis=0, weights=mass)
    # Deviations from the mean keep the sums small, so float32 products lose nothing that matters.
    units = np.column_stack([(values - centre) * mass[:, None], mass])
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1].reshape(-1)
        units = np.stack([np.bincount(codes, weights=column) for column in units.T], axis=1)
    n_units = len(units)
    units, multiplicity = np.unique(units, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    sums = np.empty((n, units.shape[1]))
    if len(units) <= EXACT_UNITS:
        shares = multiplicity / n_units
        chunk = max(1, _CHUNK_BYTES // (8 * len(units)))
        for start in range(0, n, chunk):
            counts = rng.multinomial(n_units, shares, size=min(chunk, n - start))
            sums[start : start + chunk] = counts @ units
    else:
        units = np.repeat(units, multiplicity, axis=0)
        _poisson_sums(units, sums, rng)
    drawn = sums[:, -1:]
    # A resample of only weightless rows says nothing: it is the mean itself.
    means: Doubles = centre + np.where(drawn > 0.0, sums[:, :-1] / np.where(drawn > 0.0, drawn, 1.0), 0.0)
    return means


def _poisson_sums(units: Doubles, sums: Doubles, rng: np.random.Generator) -> None:
    """Fill ``sums`` ``(n, q)`` with sums of ``units`` ``(m, q)`` under Poisson(1) counts, by table."""
    size = 1 << _POISSON_BITS
    k = np.arange(12)
    cumulative = np.cumsum(np.exp(-1.0) / np.cumprod(np.maximum(k, 1)))
    table = np.searchsorted(cumulative, (np.arange(size) + 0.5) / size).astype(np.float32)
    scale = np.abs(units).max(axis=0)
    scaled = (units / np.where(scale > 0.0, scale, 1.0)).astype(np.float32)
    chunk = max(1, _CHUNK_BYTES // (4 * len(units)))
    for start in range(0, len(sums), chunk):
        shape = (min(chunk, len(sums) - start), len(units))
        counts = table.take(rng.integers(0, size, size=shape, dtype=np.uint16))
        sums[start : start + chunk] = (counts @ scaled) * scale


def _interval(value: float, resamples: Doubles) -> Interval:
    low, high = _percentiles(resamples)
    return Interval(value=value, low=low, high=high)


def _percentiles(resamples: Doubles) -> tuple[float, float]:
    low, high = np.percentile(resamples, [2.5, 97.5])
    return float(low), float(high)
