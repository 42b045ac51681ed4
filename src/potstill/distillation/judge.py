"""What candidates are chosen and calibrated by: validation labels and, where these are few, the teacher too.

A few dozen validation rows cannot tell dozens of candidates apart: the best of them is the luckiest, and rows
that it separates by luck ask for a temperature of certainty. The teacher, which has learned from many more
rows, has answered the synthetic ones as well. These answers count as much as some validation rows: the less,
the more there are of these, and not at all for a candidate that surely knows better than the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from potstill.artifact import Affine, Calibration, Softmax
from potstill.distillation.prepare import Prepared
from potstill.distillation.teach import Taught
from potstill.evaluation.metrics import log_losses, squared_errors
from potstill.export import Told, fit_temperature
from potstill.transfer.combine import soften
from potstill.types import Dataset, Doubles, FittedStudent, Floats, SoftTargets, Tensors

WORTH = 300.0
"""Validation rows that the teacher's answers count as where there is next to none of these."""

ENOUGH = 1_000
"""Validation rows from which on the teacher's answers count for nothing."""

ASKED = 2_000
"""Rows, of those the teacher has answered, that a candidate is asked about."""

SURE_NATS = 9.0
"""A candidate that explains the validation labels so much better than the teacher, all in all, is not judged
by it. Were the teacher right, one candidate in e^9 would come so far by chance, and dozens are tried."""

_TINY = 1e-7


@dataclass(frozen=True)
class Hearsay:
    """Rows without labels, and what the teacher says of them.

    Parameters
    ----------
    tensors
        The encoded rows, m of them.
    answers
        ``(m, K)`` probabilities, or values in the target's unit.
    valid_answers
        ``(n, K)`` the same of the validation rows.
    doubt
        Mean squared error of the teacher's values, in the target's unit squared; 0 for classes.
    worth
        Validation rows that they count as.
    """

    tensors: Tensors
    answers: Floats
    valid_answers: Floats
    doubt: float
    worth: float


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
        None where validation rows are many, or nothing else was answered.
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
        calibration = self._calibration(logits)
        outputs = calibration.apply(logits)
        if self.hearsay is None or self._knows_better(outputs, self.hearsay):
            return calibration, self.loss(outputs)
        more = fitted.logits(self.hearsay.tensors)
        calibration = self._calibration(logits, Told(more, self.hearsay.answers, self.hearsay.worth))
        return calibration, self.loss(calibration.apply(logits), calibration.apply(more))

    def loss(self, outputs: Floats, said: Floats | None = None) -> float:
        """Mean log-loss, or RMSE in the target's unit: lower is better.

        Parameters
        ----------
        outputs
            ``(n, K)`` probabilities of the validation rows, or values ``(n, 1)``.
        said
            The same of the rows of the hearsay; None leaves it out.
        """
        mean = float(np.average(self._losses(outputs), weights=self.valid.weight))
        if self.hearsay is not None and said is not None:
            share = self.hearsay.worth / (self.hearsay.worth + len(self.valid))
            mean = (1 - share) * mean + share * self._disagreement(self.hearsay, said)
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

    def _knows_better(self, outputs: Floats, known: Hearsay) -> bool:
        """Whether who answers so is better than the teacher by more than chance."""
        saved = float((self._losses(known.valid_answers) - self._losses(outputs)).sum())
        return saved > SURE_NATS * (1.0 if self._classifies else 2.0 * known.doubt)

    def _disagreement(self, known: Hearsay, said: Floats) -> float:
        """Mean log-loss if the teacher's probabilities were true, or squared error if its doubt was."""
        if self._classifies:
            sure = np.log(np.maximum(said.astype(np.float64), _TINY))
            return float(-(known.answers * sure).sum(axis=1).mean())
        return float(np.square(said.astype(np.float64) - known.answers).mean()) + known.doubt

    def _calibration(self, logits: Floats, told: Told | None = None) -> Calibration:
        """One temperature; for regression the way back to the target's unit."""
        if not self._classifies:
            return Affine(scale=self.scale[0], shift=self.scale[1])
        assert self.valid.labels is not None
        labels = self.valid.labels.astype(np.int64)
        return Softmax(temperature=fit_temperature(logits, labels, self.valid.weight, told=told))


def teacher_worth(n_valid: int) -> float:
    """Validation rows that the teacher's answers count as, beside so many that have labels."""
    return max(0.0, WORTH * (1 - n_valid / ENOUGH))


def _hearsay(prepared: Prepared, taught: Taught) -> Hearsay | None:
    soft, train, valid = taught.transfer.soft_targets, prepared.parts["train"], prepared.parts["valid"]
    worth = teacher_worth(len(valid))
    if not worth or prepared.modality.heavy or not {"synthetic", "held_out"} <= soft.keys():
        return None
    few = slice(0, ASKED)
    answers = _answers(soft["synthetic"], few, train)
    valid_answers = _answers(soft["held_out"], slice(None), train)
    doubt = 0.0
    if train.task.is_classification:
        assert valid.labels is not None
        # A teacher that was adopted may be surer than it should be.
        temperature = Softmax(
            fit_temperature(_log(valid_answers), valid.labels.astype(np.int64), valid.weight)
        )
        answers, valid_answers = (temperature.apply(_log(each)) for each in (answers, valid_answers))
    else:
        assert train.labels is not None
        crossed = _answers(taught.transfer.cross_fitted, slice(None), train)
        doubt = float(np.average(squared_errors(crossed, train.labels), weights=train.weight))
    tensors = {name: values[few] for name, values in prepared.tensors["synthetic"].items()}
    return Hearsay(tensors, answers, valid_answers, doubt, worth)


def _log(probs: Floats) -> Floats:
    return np.log(np.maximum(probs, np.float32(_TINY)))


def _answers(soft: SoftTargets, rows: slice, train: Dataset) -> Floats:
    """``(n, K)`` what the whole teacher says: probabilities, or values in the target's unit."""
    probs = soft.probs[:, rows]
    if not train.task.is_classification:
        return np.asarray(np.einsum("m,mnk->nk", soft.weights, probs), dtype=np.float32)
    return soften(probs, soft.weights, 1.0, members=soft.member_temperatures, whole=soft.temperature)
