"""The candidates of one search: fitted, measured, made to fit the budget, and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, final

from potstill.objectives import KD, MSE
from potstill.students.settings import adjusted
from potstill.training.candidates import Assessment, Candidate, excess, order
from potstill.training.examples import LABELS_ONLY
from potstill.training.lesson import Fit, Fitted, Lesson, Trial
from potstill.training.pace import Pace
from potstill.training.sizing import Sizing
from potstill.types import Budget, FittedStudent, Progress, Student, Tried

Side = Literal["student", "twin"]

SIDES: tuple[Side, ...] = ("student", "twin")

NEAR, NEAR_CUT_SHORT = 1.1, 1.3
"""A kin is searched on if its loss is at most so many times the best; or so many, were its fits cut short."""

CUT_SHORT = 0.95
"""A fit that took so much of its limit would have gone on."""


@final
class Trials:
    """What has been tried so far, and the means to try more.

    Parameters
    ----------
    lesson
        What the next candidates learn from; exchanged for one with another generation's answers.
    assess, budget
        As in `potstill.training.search.Search`.
    pace
        The clock.
    progress
        Told of every candidate.

    Attributes
    ----------
    tried
        All candidates, in the order they were fitted.
    sizing
        What sizes were seen to cost.
    resizes
        Whether what breaks the budget is tried again, smaller.
    """

    def __init__(
        self,
        lesson: Lesson,
        *,
        assess: Callable[[FittedStudent], Assessment],
        budget: Budget,
        pace: Pace,
        progress: Progress,
    ) -> None:
        self.lesson = lesson
        self.tried: list[Candidate] = []
        self.sizing = Sizing(budget)
        self.resizes = True
        self._assess = assess
        self._budget = budget
        self._pace = pace
        self._progress = progress

    def attempt(self, trials: Sequence[Trial], *, limit_s: float | None = None) -> None:
        """Fit and measure each that there is time for; those that break the budget again, smaller.

        Parameters
        ----------
        limit_s
            Seconds that each may take; None for what its like took.
        """
        waiting = list(trials)
        while waiting:
            new = [trial for trial in dict.fromkeys(waiting) if not self.was_tried(trial)]
            now = self._pace.affordable(new, self.tried)
            limits_s = self._pace.limits_s(now, self.tried)
            if limit_s is not None:
                limits_s, limit_s = [limit_s] * len(now), None
            fits = [Fit(trial, time_limit_s=limit_s) for trial, limit_s in zip(now, limits_s, strict=True)]
            waiting = []
            for candidate in self.fit(fits):
                part = None
                if self.resizes and not candidate.fits_budget:
                    part = self.sizing.smaller(candidate.student, candidate.assessment)
                if part is not None:
                    waiting.append(replace(candidate.trial, student=part))

    def fit(self, fits: Sequence[Fit]) -> list[Candidate]:
        """Fit and measure all of them, whatever time is left."""
        candidates = []
        for fit, fitted in zip(fits, self.lesson.fit(fits), strict=True):
            candidates.append(self._measured(fit, fitted))
            self.tried.append(candidates[-1])
            self._progress.advance(1)
            self._progress.candidate(_as_told(candidates[-1]))
        return candidates

    def _measured(self, fit: Fit, fitted: Fitted) -> Candidate:
        assessment, limit_s = self._assess(fitted.student), fit.time_limit_s
        self.sizing.note(fit.trial.student, assessment)
        return Candidate(
            trial=fit.trial,
            fitted=fitted.student,
            effort=fitted.effort,
            seconds=fitted.seconds,
            assessment=assessment,
            excess=excess(self._budget, assessment),
            cut_short=limit_s is not None and fitted.seconds >= CUT_SHORT * limit_s,
        )

    def twin_of(self, part: Student) -> Trial:
        """``part`` told labels alone; nothing that a teacher has learned is there for it to begin with."""
        objective = KD() if self.lesson.task.is_classification else MSE()
        return Trial(adjusted(part, tuned=None), LABELS_ONLY, objective)

    def was_tried(self, trial: Trial) -> bool:
        """Whether there is a candidate of it."""
        return any(seen.trial == trial for seen in self.tried)

    def fitting(self, part: Student) -> Student:
        """``part`` made so small that a sketch of it keeps the budget, where it can be; fewer bytes first."""
        if self._budget == Budget():
            return part
        smaller: Student | None = part
        while smaller is not None:
            part, smaller = smaller, None
            # Weighed with the encoder that it begins with, and drawn to none.
            sketched = replace(self.twin_of(part), student=adjusted(part, matching=0.0, attention=0.0))
            seen = self._assess(self.lesson.sketch(sketched))
            if excess(self._budget, seen) > 1.0:
                smaller = None if self.lesson.heavy else _in_fewer_bytes(part, self._budget, seen)
                if smaller is None:
                    smaller = self.sizing.smaller(part, seen)
                    self.sizing.note(part, seen)
        return part

    def near(self, kin: str) -> list[Candidate]:
        """The best student and twin of ``kin`` that are not much worse than the best of all; none where there
        was no time for both.
        """
        best = self.best(kin)
        if len(best) < len(SIDES):
            return []
        return [
            one
            for side, one in zip(SIDES, best, strict=True)
            if one.assessment.loss <= _nearness(one) * self.leader(side).assessment.loss
        ]

    def leaders(self, side: Side, kin: str | None = None) -> list[Candidate]:
        """All of one side, and of one kin if named, the best first."""
        return sorted(
            (one for one in self.tried if one.is_twin == (side == "twin") and kin in (None, one.student.kin)),
            key=order,
        )

    def leader(self, side: Side, kin: str | None = None) -> Candidate:
        """The best of one side, which has some."""
        return self.leaders(side, kin)[0]

    def best(self, kin: str | None = None) -> list[Candidate]:
        """The best student and the best twin, of one kin if named, that there was time for: families of one
        kin compete.
        """
        return [leaders[0] for side in SIDES if (leaders := self.leaders(side, kin))]


def _nearness(candidate: Candidate) -> float:
    return NEAR_CUT_SHORT if candidate.cut_short else NEAR


def _in_fewer_bytes(part: Student, budget: Budget, seen: Assessment) -> Student | None:
    """``part`` with weights of one byte, where it is too large for ``budget`` with two; None elsewhere."""
    too_large = budget.size_kb is not None and seen.size_bytes > 1000 * budget.size_kb
    if not too_large or getattr(part, "weights", None) != "float16":
        return None
    return adjusted(part, weights="int8")


def _as_told(candidate: Candidate) -> Tried:
    return Tried(
        family=candidate.student.name,
        size=candidate.student.size,
        told=", ".join(filter(None, (candidate.settings, candidate.told))),
        loss=candidate.assessment.loss,
        size_bytes=candidate.assessment.size_bytes,
        latency=candidate.assessment.latency_us,
        fits_budget=candidate.fits_budget,
    )
