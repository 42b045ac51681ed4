"""How often the model is right, without labels: from how sure it is of what it is asked now."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from potstill.artifact.reference import Confidence
from potstill.monitoring.counting import Tally

_Z95 = 1.959963984540054


class AccuracyEstimate(msgspec.Struct, frozen=True):
    """A guess of the accuracy, made without a label.

    Parameters
    ----------
    value
        Estimated share of right answers.
    low, high
        95 % interval, by the number of live and of reference rows; the assumption below is not in it.
    reference
        Share of right answers in the reference, whose labels were known.
    trusted
        No column and no answer has drifted: the rows are of the kind the estimate was learned on. If not,
        have some rows labelled.
    """

    value: float
    low: float
    high: float
    reference: float
    trusted: bool = True


def estimate_accuracy(confidence: Confidence, tally: Tally) -> AccuracyEstimate | None:
    """Accuracy of a window's answers; None where nothing was answered.

    In each bin rows are taken to be right as often as those of the reference were, plus by how much surer
    the model is of them. It follows a change of the rows; a changed meaning of the same rows it cannot see.
    On rows far from those it knows a model may be as sure as ever, and wrong.

    References
    ----------
    Confidence-based performance estimation: Kivimäki et al. 2023, Failure detection and performance
    estimation with calibrated confidences.
    """
    n_reference = sum(confidence.counts)
    if tally.confident is None or tally.said is None or not tally.confident.sum() or not n_reference:
        return None
    counts, right = np.array(confidence.counts), np.array(confidence.right)
    share = tally.confident / tally.confident.sum()
    known = counts > 0
    observed = np.where(known, right / np.maximum(counts, 1), np.array(confidence.said))
    surer = tally.said / np.maximum(tally.confident, 1) - np.array(confidence.said)
    expected = np.clip(observed + np.where(known, surer, 0.0), 0.0, 1.0)
    value = float(share @ expected)
    spread = observed * (1 - observed) / np.maximum(counts, 1)
    half = _Z95 * math.sqrt(
        float(share**2 @ spread) + float(share @ (expected * (1 - expected))) / tally.n_rows
    )
    return AccuracyEstimate(
        value, max(value - half, 0.0), min(value + half, 1.0), float(right.sum() / n_reference)
    )
