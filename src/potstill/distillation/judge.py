"""What candidates are chosen and calibrated by: validation labels and, where these are few, the teacher too.

A few dozen labels cannot tell dozens of candidates apart: the best of them is the luckiest, and rows that it
separates by luck ask for a temperature of certainty. The teacher, which has learned from many more rows and
was kept off these, says how sure one can be of each. So its answers are mixed into the labels: the less, the
more rows there are, and not at all for a candidate that surely knows better than the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from potstill.artifact import Affine, Calibration, Softmax
from potstill.distillation.prepare import Prepared
from potstill.distillation.teach import Taught
from potstill.evaluation.metrics import EPS, log_losses, squared_errors
from potstill.export import Told, fit_temperature
from potstill.training.candidates import Candidate
from potstill.types import Dataset, Doubles, FittedStudent, Floats, Tensors

MOST_SHARE = 0.5
"""Weight of the teacher's answers against the labels where there is next to no validation row."""

ENOUGH = 500
"""Validation rows from which on the labels alone count."""

SURE_NATS = 9.0
"""A candidate that explains the validation labels so much better than the teacher, all in all, is not judged
by it. Were the teacher right, one candidate in e^9 would come so far by chance, and dozens are tried."""


@dataclass(frozen=True)
class Hearsay:
    """What the teacher says of the validation rows.

    Parameters
    ----------
    answers
        ``(n, K)`` calibrated probabilities, or values in the target's unit.
    doubt
        Mean squared error of the teacher's values there, in the target's unit squared; 0 for classes.
    share
        Weight in [0, 1) against the labels.
    """

    answers: Floats
    doubt: float
    share: float


@dataclass(frozen=True)
class Judge:
    """Says how to calibrate a student, and how good it is.

    Parameters
    ----------
    valid, tensors
        The validation rows, as given and encoded.
    scale
        ``(scale, shift)`` of regression values.
    hearsay
        None where validation rows are many, or the teacher has not answered them.
    """

    valid: Dataset
    tensors: Tensors
    scale: tuple[float, float]
    hearsay: Hearsay | None = None

    @classmethod
    def of(cls, prepared: Prepared, taught: Taught, scale: tuple[float, float]) -> Self:
        """The judge of all candidates of a run."""
        return cls(prepared.parts["valid"], prepared.tensors["valid"], scale, _hearsay(prepared, taught))

    def judged(self, fitted: FittedStudent) -> tuple[Calibration, float]:
        """The calibration of a student, and its loss."""
        logits = fitted.logits(self.tensors)
        alone = self._calibration(logits, None)
        if self.hearsay is None or self._knows_better(alone.apply(logits), self.hearsay):
            return alone, self._loss(alone.apply(logits), None)
        together = self._calibration(logits, self.hearsay)
        return together, self._loss(together.apply(logits), self.hearsay)

    def loss(self, outputs: Floats) -> float:
        """Mean log-loss of ``(n, K)`` probabilities, or RMSE of ``(n, 1)`` values in the target's unit."""
        return self._loss(outputs, self.hearsay)

    @property
    def words(self) -> str:
        """By what it judges."""
        return "validation rows" + (", by labels and teacher" if self.hearsay else "")

    def _loss(self, outputs: Floats, known: Hearsay | None) -> float:
        losses = self._losses(outputs)
        if known is not None:
            losses = (1 - known.share) * losses + known.share * self._disagreement(outputs, known)
        mean = float(np.average(losses, weights=self.valid.weight))
        return mean if self._classifies else float(np.sqrt(mean))

    @property
    def _classifies(self) -> bool:
        return self.valid.task.is_classification

    def _losses(self, outputs: Floats) -> Doubles:
        """``(n,)`` log-loss, or squared error, of each validation row."""
        assert self.valid.labels is not None
        if self._classifies:
            return log_losses(outputs, self.valid.labels.astype(np.int64))
        return squared_errors(outputs, self.valid.labels)

    def _disagreement(self, outputs: Floats, known: Hearsay) -> Doubles:
        """``(n,)`` log-loss to expect if the teacher is right, or squared error if its doubt is."""
        exact = outputs.astype(np.float64)
        if self._classifies:
            return np.asarray(-(known.answers * np.log(np.maximum(exact, EPS))).sum(axis=1))
        return np.square(exact - known.answers)[:, 0] + known.doubt

    def calibration_of(self, candidate: Candidate) -> Calibration:
        """The calibration that a candidate was judged with, for its graph."""
        return Softmax(candidate.assessment.temperature) if self._classifies else Affine(*self.scale)

    def _knows_better(self, outputs: Floats, known: Hearsay) -> bool:
        """Whether who answers so is better than the teacher by more than chance."""
        saved = float((self._losses(known.answers) - self._losses(outputs)).sum())
        return saved > SURE_NATS * (1.0 if self._classifies else 2.0 * known.doubt)

    def _calibration(self, logits: Floats, known: Hearsay | None) -> Calibration:
        """One temperature; for regression the way back to the target's unit."""
        if not self._classifies:
            return Affine(*self.scale)
        assert self.valid.labels is not None
        told = None if known is None else Told(known.answers, known.share)
        labels = self.valid.labels.astype(np.int64)
        return Softmax(temperature=fit_temperature(logits, labels, self.valid.weight, told=told))


def teacher_share(n_valid: int) -> float:
    """Weight of the teacher's answers against the labels of so many validation rows."""
    return max(0.0, MOST_SHARE * (1 - n_valid / ENOUGH))


def _hearsay(prepared: Prepared, taught: Taught) -> Hearsay | None:
    valid, answers = prepared.parts["valid"], taught.answers.get("valid")
    share = teacher_share(len(valid))
    if not share or answers is None or prepared.modality.heavy:
        return None
    assert valid.labels is not None
    if not valid.task.is_classification:
        # Not by its answers out of fold: a teacher that was adopted fitted has none.
        doubt = float(np.average(squared_errors(answers, valid.labels), weights=valid.weight))
        return Hearsay(answers, doubt, share)
    # A teacher that was adopted may be surer than it should be.
    log_probs = np.log(np.maximum(answers, np.float32(EPS)))
    temperature = fit_temperature(log_probs, valid.labels.astype(np.int64), valid.weight)
    return Hearsay(Softmax(temperature).apply(log_probs), 0.0, share)
