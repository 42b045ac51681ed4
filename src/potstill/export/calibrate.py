"""One temperature for the finished student, fitted on rows it did not learn from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from potstill.types import Doubles, Floats, Ints

LOWEST, HIGHEST = 0.1, 10.0
"""Range of temperatures: a few separable rows would else ask for 0, and certainty."""

PRIOR_SPREAD = 0.3
"""Standard deviation of ``ln T`` thought likely before any row is seen. A few dozen rows that happen
to be separable would otherwise buy certainty; from a few thousand on it has no weight."""

_LEAST_GAIN = 1e-7
"""Nats a row that a temperature must save to be worth a node in the graph."""


class Told(NamedTuple):
    """What somebody who may be trusted says of the rows, beside their labels.

    Parameters
    ----------
    probs
        ``(n, K)`` probabilities.
    share
        Their weight in [0, 1) against the labels.
    """

    probs: Floats
    share: float


def fit_temperature(
    logits: Floats, labels: Ints, weight: Doubles | Floats | None = None, *, told: Told | None = None
) -> float:
    """The most probable temperature of ``softmax(logits / temperature)`` given the labels.

    That is the lowest log-loss with a log-normal prior around 1 (`PRIOR_SPREAD`), which counts as much as a
    handful of rows.

    Parameters
    ----------
    logits
        ``(n, K)`` float32, finite.
    labels
        ``(n,)`` int64 class indices, -1 for rows without a label, which do not count.
    weight
        ``(n,)`` non-negative sample weights; None when all weigh the same.
    told
        Answers that are mixed into the labels, for where these are few; None for labels alone.

    Returns
    -------
    float
        Between `LOWEST` and `HIGHEST`; exactly 1.0 when no temperature helps or no row has a label.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger 2017, On Calibration of Modern Neural Networks, §4.2.
    """
    labelled = labels >= 0
    if weight is not None:
        labelled &= weight > 0
    if not labelled.any():
        return 1.0
    shifted = logits[labelled].astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    score = np.take_along_axis(shifted, labels[labelled][:, None], axis=1)[:, 0]
    if told is not None:
        score = (1 - told.share) * score + told.share * (told.probs[labelled] * shifted).sum(axis=1)
    each = np.ones(len(score)) if weight is None else weight[labelled].astype(np.float64)
    share = each / each.sum()
    prior = 0.5 / PRIOR_SPREAD**2 / len(score)

    def log_loss(inverse: float) -> float:
        partition = np.log(np.exp(inverse * shifted).sum(axis=1))
        return float(share @ (partition - inverse * score) + prior * np.log(inverse) ** 2)

    found = minimize_scalar(
        log_loss, bounds=(1.0 / HIGHEST, 1.0 / LOWEST), method="bounded", options={"xatol": 1e-6}
    )
    if not log_loss(1.0) - found.fun > _LEAST_GAIN:
        return 1.0
    return float(1.0 / found.x)
