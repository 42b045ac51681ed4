"""Scores of probabilities against labels and of values against values. numpy only, float64 inside.

Every function takes ``probs`` ``(n, K)`` (columns in the order of the task's classes),
``labels`` ``(n,)`` int64 class indices and an optional ``weight`` ``(n,)``; weight 0 counts for nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.types import Bools, Doubles, Ints

EPS = 1e-7
"""Smaller probabilities count as this in the log-loss: one certain mistake costs 16.1, not infinity."""

FALSE_POSITIVE_RATES = (0.001, 0.005, 0.01, 0.05, 0.1)

Binning = Literal["width", "mass"]


class OperatingPoint(msgspec.Struct, frozen=True):
    """What a binary model catches at one false-positive rate.

    Parameters
    ----------
    fpr
        The false-positive rate that must not be exceeded.
    reached_fpr
        The rate at ``threshold`` on these rows, at most ``fpr``.
    threshold
        Rows with a probability of at least this are called positive; None where every threshold that calls
        anything positive exceeds ``fpr``.
    recall
        Share of the positive rows that are called positive.
    precision
        Share of the called rows that are positive; None where none is called.
    """

    fpr: float
    reached_fpr: float
    threshold: float | None
    recall: float
    precision: float | None


def accuracy(probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None) -> float:
    """Weighted share of rows whose most probable class is the label; ties go to the first class."""
    return _mean(np.argmax(probs, axis=1) == labels, weight)


def log_loss(probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None) -> float:
    """Weighted mean of ``-ln p`` of the label, natural logarithm, ``p`` clipped to ``[1e-7, 1]``."""
    return _mean(log_losses(probs, labels), weight)


def log_losses(probs: NDArray[Any], labels: Ints) -> Doubles:
    """``-ln p`` of the label of each row, ``(n,)`` float64, ``p`` clipped to ``[1e-7, 1]``."""
    of_label = probs[np.arange(len(labels)), labels].astype(np.float64)
    losses: Doubles = -np.log(np.clip(of_label, EPS, 1.0))
    return losses


def roc_auc(probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None) -> float | None:
    """Area under the ROC curve; ties count one half.

    Two classes: of the second, the positive one. More: the unweighted mean of each class against the rest
    (macro one-vs-rest); a class without a row, or with every row, is skipped. None where no class is left.
    """
    return _macro(_binary_auc, probs, labels, weight)


def average_precision(probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None) -> float | None:
    """Average precision, ``sum (R_i - R_(i-1)) P_i`` over distinct thresholds, without interpolation.

    Of the positive class for two classes; of each class against the rest, then the unweighted mean, for more
    (classes skipped as in `roc_auc`).
    """
    return _macro(_binary_average_precision, probs, labels, weight)


def brier(probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None) -> float:
    """Brier score in its original form: squared error summed over all K classes, so in ``[0, 2]``.

    For two classes this is twice the one-column form.

    References
    ----------
    Brier 1950, Verification of forecasts expressed in terms of probability.
    """
    return _mean(brier_losses(probs, labels), weight)


def brier_losses(probs: NDArray[Any], labels: Ints) -> Doubles:
    """Squared error of each row, summed over the classes, ``(n,)`` float64."""
    errors = probs.astype(np.float64)
    errors[np.arange(len(labels)), labels] -= 1.0
    losses: Doubles = np.square(errors).sum(axis=1)
    return losses


def ece(
    probs: NDArray[Any],
    labels: Ints,
    weight: NDArray[Any] | None = None,
    *,
    bins: int = 15,
    binning: Binning = "width",
) -> float:
    """Expected calibration error of the most probable class: weighted mean of ``|accuracy - confidence|``.

    Parameters
    ----------
    bins
        Number of bins of the confidence.
    binning
        ``width``: bins ``(i/15, (i+1)/15]``, the form others report. ``mass``: bins of about equal
        weight, equal confidences never parted; steadier where most rows are near 1.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger 2017, On calibration of modern neural networks, eq. 3.
    """
    confidence = probs.max(axis=1).astype(np.float64)
    hit = np.argmax(probs, axis=1) == labels
    mass = _weights(weight, len(labels))
    index = bin_index(confidence, mass, bins=bins, binning=binning)
    gaps = np.bincount(index, weights=mass * (hit - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / mass.sum())


def bin_index(confidence: Doubles, weight: Doubles, *, bins: int, binning: Binning) -> Ints:
    """Bin of each confidence in ``[0, 1]``, ``(n,)`` int64 in ``[0, bins)``; bins are closed on the right."""
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    else:
        order = np.argsort(confidence, kind="stable")
        share = np.cumsum(weight[order]) / weight.sum()
        at = np.searchsorted(share, np.arange(1, bins) / bins - 1e-12)
        edges = np.unique(confidence[order][np.minimum(at, len(order) - 1)])
    return np.searchsorted(edges, confidence, side="left").astype(np.int64)


def r2(predicted: NDArray[Any], values: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Coefficient of determination. For constant ``values``: 1 if predicted exactly, else 0."""
    truth = values.astype(np.float64)
    residual = _mean(squared_errors(predicted, values), weight)
    variance = _mean(np.square(truth - _mean(truth, weight)), weight)
    if variance == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / variance


def rmse(predicted: NDArray[Any], values: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Root of the mean squared error, in the unit of the target."""
    return float(np.sqrt(_mean(squared_errors(predicted, values), weight)))


def mae(predicted: NDArray[Any], values: NDArray[Any], weight: NDArray[Any] | None = None) -> float:
    """Mean absolute error, in the unit of the target."""
    return _mean(np.abs(_flat(predicted) - values), weight)


def squared_errors(predicted: NDArray[Any], values: NDArray[Any]) -> Doubles:
    """Squared error of each row, ``(n,)`` float64; ``predicted`` is ``(n,)`` or ``(n, 1)``."""
    errors: Doubles = np.square(_flat(predicted) - values)
    return errors


def classification_scores(
    probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None = None
) -> dict[str, float]:
    """All scores of a classifier: accuracy, log_loss, roc_auc, average_precision, brier, ece.

    ``roc_auc`` and ``average_precision`` are left out where these rows do not define them.

    Raises
    ------
    UserError
        When there are no rows, or the shapes or class indices do not fit.

    Examples
    --------
    >>> scores = classification_scores(np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([0, 1]))
    >>> scores["accuracy"], round(scores["log_loss"], 4)
    (1.0, 0.2899)
    """
    check_probs(probs, labels)
    scores: dict[str, float | None] = {
        "accuracy": accuracy(probs, labels, weight),
        "log_loss": log_loss(probs, labels, weight),
        "roc_auc": roc_auc(probs, labels, weight),
        "average_precision": average_precision(probs, labels, weight),
        "brier": brier(probs, labels, weight),
        "ece": ece(probs, labels, weight),
    }
    return {name: score for name, score in scores.items() if score is not None}


def regression_scores(
    predicted: NDArray[Any], values: NDArray[Any], weight: NDArray[Any] | None = None
) -> dict[str, float]:
    """All scores of a regressor: r2, rmse, mae.

    Raises
    ------
    UserError
        When there are no rows or the shapes do not fit.
    """
    if len(values) == 0:
        raise UserError("Scores need at least one row, got none.")
    if predicted.shape not in {(len(values),), (len(values), 1)}:
        raise UserError(
            f"Predicted values must have shape ({len(values)},) or ({len(values)}, 1), got {predicted.shape}."
        )
    return {
        "r2": r2(predicted, values, weight),
        "rmse": rmse(predicted, values, weight),
        "mae": mae(predicted, values, weight),
    }


def operating_points(
    probs_pos: NDArray[Any],
    labels: Ints,
    fprs: tuple[float, ...] = FALSE_POSITIVE_RATES,
    *,
    weight: NDArray[Any] | None = None,
) -> tuple[OperatingPoint, ...]:
    """What is caught at each false-positive rate: the lowest threshold that keeps it.

    Parameters
    ----------
    probs_pos
        ``(n,)`` probabilities of the positive class, the second.
    labels
        ``(n,)`` 0 or 1.

    Returns
    -------
    tuple of OperatingPoint
        One for each rate, in order; empty where a class has no row.
    """
    caught, false, scores = _steps(probs_pos, labels == 1, _weights(weight, len(labels)))
    if len(scores) == 0 or caught[-1] == 0.0 or false[-1] == 0.0:
        return ()
    rates = false / false[-1]
    points = []
    for fpr in fprs:
        at = int(np.searchsorted(rates, fpr, side="right")) - 1
        if at < 0:
            points.append(OperatingPoint(fpr, 0.0, None, 0.0, None))
            continue
        called = caught[at] + false[at]
        points.append(
            OperatingPoint(
                fpr=fpr,
                reached_fpr=float(rates[at]),
                threshold=float(scores[at]),
                recall=float(caught[at] / caught[-1]),
                precision=float(caught[at] / called) if called > 0 else None,
            )
        )
    return tuple(points)


def check_probs(probs: NDArray[Any], labels: NDArray[Any]) -> None:
    """Raise a UserError unless ``probs`` is ``(n, K >= 2)``, n > 0, and the labels are in ``[0, K)``."""
    if len(labels) == 0:
        raise UserError("Scores need at least one row, got none.")
    if probs.ndim != 2 or len(probs) != len(labels) or probs.shape[1] < 2:
        raise UserError(
            f"Probabilities must have shape ({len(labels)}, K) with K of at least 2, got {probs.shape}.",
            hint="for two classes pass both columns",
        )
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise UserError(
            f"Labels must be class indices from 0 to {probs.shape[1] - 1}, "
            f"got {int(labels.min())} to {int(labels.max())}.",
            hint="leave out rows without a label",
        )


def _flat(predicted: NDArray[Any]) -> Doubles:
    return predicted.reshape(len(predicted)).astype(np.float64)


def _weights(weight: NDArray[Any] | None, n: int) -> Doubles:
    return np.ones(n) if weight is None else weight.astype(np.float64)


def _mean(values: NDArray[Any], weight: NDArray[Any] | None) -> float:
    mass = _weights(weight, len(values))
    return float((values * mass).sum() / mass.sum())


def _steps(scores: NDArray[Any], positive: Bools, weight: Doubles) -> tuple[Doubles, Doubles, NDArray[Any]]:
    """Weight of true and false positives at each distinct score, from the highest score to the lowest."""
    kept = weight > 0.0
    scores, positive, weight = scores[kept], positive[kept], weight[kept]
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], len(ranked) > 0))
    mass = weight[order]
    hits = np.where(positive[order], mass, 0.0)
    # Two sums of their own, not total minus hits: a difference would leave dust where it should be 0.
    return np.cumsum(hits)[ends], np.cumsum(np.where(positive[order], 0.0, mass))[ends], ranked[ends]


def _binary_auc(scores: NDArray[Any], positive: Bools, weight: Doubles) -> float:
    caught, false, _ = _steps(scores, positive, weight)
    area = np.trapezoid(np.append(0.0, caught), np.append(0.0, false))
    return float(area / (caught[-1] * false[-1]))


def _binary_average_precision(scores: NDArray[Any], positive: Bools, weight: Doubles) -> float:
    caught, false, _ = _steps(scores, positive, weight)
    precision = caught / (caught + false)
    return float((np.diff(np.append(0.0, caught)) * precision).sum() / caught[-1])


def _macro(score: Any, probs: NDArray[Any], labels: Ints, weight: NDArray[Any] | None) -> float | None:
    mass = _weights(weight, len(labels))
    n_classes = probs.shape[1]
    each = []
    for k in (1,) if n_classes == 2 else range(n_classes):
        positive = labels == k
        if mass[positive].sum() > 0.0 and mass[~positive].sum() > 0.0:
            each.append(score(probs[:, k], positive, mass))
    return float(np.mean(each)) if each else None
