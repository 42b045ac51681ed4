"""The student answers when it is sure; the rest go to the ensemble."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, final

import msgspec
import numpy as np

from potstill.artifact import Model
from potstill.errors import UserError
from potstill.monitoring.ensemble import Ask, Row, checked_answers
from potstill.types import Bools, Floats


class CascadeCounts(msgspec.Struct, frozen=True):
    """Rows the student answered, rows the ensemble answered, and rows that it should have but did not."""

    student: int
    ensemble: int
    failed: int


@final
class Cascade:
    """A small model with the ensemble behind it. Safe between threads if ``ask`` is.

    Where the ensemble does not answer the student's answer stands, and is counted.

    Parameters
    ----------
    model
        The student; it must predict classes.
    ask
        The ensemble.
    threshold
        Probability of its most probable class from which the student answers alone; `potstill cascade` and
        `choose_threshold` find it.

    Raises
    ------
    UserError
        The model predicts values, or the threshold is no probability.
    """

    def __init__(self, model: Model, ask: Ask, *, threshold: float) -> None:
        if not model.task.is_classification:
            raise UserError(
                "A cascade needs a model of classes: values come without a probability to go by.",
                hint="Serve the student alone, with a shadow to see how it fares.",
            )
        if not 0.0 <= threshold <= 1.0:
            raise UserError(f"Wanted a threshold between 0 and 1, got {threshold:g}.")
        self.model = model
        self.threshold = threshold
        self._ask = ask
        self._counting = threading.Lock()
        self._counts = CascadeCounts(0, 0, 0)

    @property
    def counts(self) -> CascadeCounts:
        """Who has answered so far."""
        return self._counts

    def answer(self, rows: Sequence[Row]) -> tuple[Floats, Bools]:
        """Probabilities of some rows, and who says so.

        Parameters
        ----------
        rows
            Each a mapping of column to value, with all that the ensemble wants to see.

        Returns
        -------
        tuple
            ``(n, K)`` float32, and ``(n,)`` whether the ensemble said so.

        Raises
        ------
        UserError
            When the rows are not as the model takes them.
        """
        outputs = self.model.outputs_of(list(rows))
        return self.settle(outputs, self.unsure(outputs), lambda: rows)

    def unsure(self, outputs: Floats) -> Bools:
        """``(n,)`` whether the ensemble is to answer, by ``(n, K)`` probabilities of the student."""
        unsure: Bools = outputs.max(axis=1) < self.threshold
        return unsure

    def settle(
        self, outputs: Floats, unsure: Bools, rows_of: Callable[[], Sequence[Row]]
    ) -> tuple[Floats, Bools]:
        """The same for rows that the student has answered.

        Parameters
        ----------
        outputs
            ``(n, K)`` probabilities of the student; left as they are.
        unsure
            ``(n,)`` as `unsure` tells of them.
        rows_of
            Gives the rows, which are not looked at where the student is sure of all of them.
        """
        places = np.flatnonzero(unsure)
        asked = np.zeros(len(outputs), dtype=np.bool_)
        failed = 0
        if len(places):
            try:
                rows = rows_of()
                said = self._ask([rows[row] for row in places.tolist()])
                answers = checked_answers(said, len(places), self.model.task)
                outputs = outputs.copy()
                outputs[places] = answers
                asked[places] = True
            except Exception:  # whatever the ensemble's trouble, the student has an answer
                failed = len(places)
        with self._counting:
            before = self._counts
            self._counts = CascadeCounts(
                before.student + len(outputs) - len(places),
                before.ensemble + len(places) - failed,
                before.failed + failed,
            )
        return outputs, asked

    def predict_one(self, row: Row) -> dict[str, Any]:
        """The answer to one row as of `predict_one`, and ``answered_by``: ``student`` or ``ensemble``."""
        outputs, asked = self.answer([row])
        probabilities = outputs[0].tolist()
        classes = self.model.classes
        return {
            "label": classes[int(outputs[0].argmax())],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
            "answered_by": "ensemble" if asked[0] else "student",
        }
