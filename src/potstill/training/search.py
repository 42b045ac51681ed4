"""The best student under a budget, and the best twin: same families, same sizes, same number of fits each.

The search is a fixed, small plan rather than an open-ended one, so that a seed decides its result:

1. every family at its own size, as a student and as a twin;
2. the other kinds of target for the families that are near the best;
3. the leading student and the leading twin, each at other sizes.

Every candidate is exported and measured by the caller's `assess`; one that breaks the budget is shrunk until
it fits. All choices are made on validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from potstill.training.examples import LABELS_ONLY, Targets, make_examples
from potstill.types import (
    Budget,
    Examples,
    FeatureSpec,
    FittedStudent,
    Latency,
    Objective,
    Origin,
    Progress,
    Silent,
    Student,
    Task,
    Tensors,
    TransferSet,
)

SIZES = (0.5, 2.0)
"""Sizes tried for the leading student and the leading twin, beside their own."""

FAR = 1.15
"""A family whose loss is this many times the best one's is not tried with more kinds of target."""

SMALLEST_SIZE = 1 / 16
"""Below this size a family that still breaks the budget is given up."""

SEARCH_ORIGINS: tuple[Origin, ...] = ("real", "unlabeled", "synthetic")
REFIT_ORIGINS: tuple[Origin, ...] = ("real", "held_out", "unlabeled", "synthetic")


@dataclass(frozen=True)
class Assessment:
    """What a fitted candidate measured: exported, timed and scored on validation rows after calibration.

    Parameters
    ----------
    loss
        Log-loss on the validation labels, or RMSE in the target's unit; lower is better.
    temperature
        The calibration's temperature; 1 for regression.
    size_bytes, latency_us
        Of the exported file.
    """

    loss: float
    temperature: float
    size_bytes: int
    latency_us: Latency


@dataclass(frozen=True)
class Candidate:
    """One fitted student, what it was told and what it measured."""

    student: Student
    targets: Targets
    objective: Objective
    fitted: FittedStudent
    effort: int
    assessment: Assessment
    fits_budget: bool

    @property
    def is_twin(self) -> bool:
        return self.targets.labels_only


@dataclass(frozen=True)
class Found:
    """The winner, its hard-label twin, and all that was tried on the way."""

    student: Candidate
    twin: Candidate
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Lesson:
    """What is the same for every candidate: the encoded transfer set, the task and the validation rows.

    Parameters
    ----------
    transfer, tensors
        The transfer set and its encoded rows, by origin.
    valid
        Encoded validation rows with labels.
    scale
        ``(scale, shift)`` of regression values; ``(1, 0)`` otherwise.
    workers
        Fits at work side by side, each in a process of its own.
    """

    transfer: TransferSet
    tensors: Mapping[Origin, Tensors]
    valid: Examples
    spec: FeatureSpec
    task: Task
    scale: tuple[float, float] = (1.0, 0.0)
    seed: int = 0
    device: str = "cpu"
    workers: int = 1

    def fit(self, fits: Sequence[_Fit]) -> list[tuple[FittedStudent, int]]:
        """Fit each, side by side where there are workers; in the order given."""
        if self.workers == 1 or len(fits) < 2:
            return [_fitted(self, one) for one in fits]
        answered = Parallel(n_jobs=self.workers, batch_size=1)(delayed(_fitted)(self, one) for one in fits)
        return list(answered)


@dataclass(frozen=True)
class _Fit:
    """One fit to be done; without ``effort`` it stops early by the validation rows."""

    student: Student
    targets: Targets
    objective: Objective
    origins: tuple[Origin, ...]
    effort: int | None = None


def _fitted(lesson: Lesson, fit: _Fit) -> tuple[FittedStudent, int]:
    """Do it on one core: where cores are few and shared, fits side by side are the faster."""
    examples = make_examples(
        lesson.transfer,
        lesson.tensors,
        fit.targets,
        temperature=fit.objective.temperature,
        origins=fit.origins,
        scale=lesson.scale,
    )
    with threadpool_limits(limits=1):
        return fit.student.fit(
            examples,
            lesson.valid if fit.effort is None else None,
            spec=lesson.spec,
            task=lesson.task,
            objective=fit.objective,
            seed=lesson.seed,
            effort=fit.effort,
            device=lesson.device,
        )


@final
class Search:
    """Runs the plan. One instance a run; `run` once.

    Parameters
    ----------
    lesson
        What every candidate learns from and is chosen by.
    assess
        Exports, times and scores a fitted student on the validation rows.
    budget
        What the artifact may cost.
    objective
        The distillation loss of the students; twins use their labels only.
    """

    def __init__(
        self,
        lesson: Lesson,
        *,
        assess: Callable[[FittedStudent], Assessment],
        budget: Budget,
        objective: Objective,
        progress: Progress | None = None,
    ) -> None:
        self._lesson = lesson
        self._assess = assess
        self._budget = budget
        self._objective = objective
        self._progress = progress or Silent()
        self._tried: list[Candidate] = []
        self._sizes: tuple[float, ...] = SIZES

    def run(
        self, families: Sequence[Student], targets: Sequence[Targets], *, free_size: bool = True
    ) -> Found:
        """Search over ``families`` and ``targets``.

        Parameters
        ----------
        families
            Parts to try; each as a student and as a twin.
        targets
            Kinds of target to try; every family gets the first, those near the best the others too.
        free_size
            Whether the size of a family may be changed; False takes the parts as they are.
        """
        self._sizes = SIZES if free_size else ()
        fits = (1 + len(targets)) * len(families) + 2 * len(self._sizes)
        self._progress.start("searching the student", fits)
        self._try([(family, told) for family in families for told in (LABELS_ONLY, targets[0])])
        near = [family for family in families if self._is_near(family)]
        self._try([(family, other) for other in targets[1:] for family in near])
        leaders = [self._best(twin=False), self._best(twin=True)]
        self._try(
            [
                (best.student.resized(best.student.size * size), best.targets)
                for size in self._sizes
                for best in leaders
            ]
        )
        twin_found = self._best(twin=True)
        distilled = self._best(twin=False)
        student = min((twin_found, distilled), key=_order)
        return Found(student=student, twin=twin_found, candidates=tuple(self._tried))

    def refit(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates fitted again with the held-out rows too, for as long as was best."""
        fits = [
            _Fit(one.student, one.targets, one.objective, REFIT_ORIGINS, effort=one.effort)
            for one in candidates
        ]
        return [
            replace(one, fitted=fitted, effort=effort)
            for one, (fitted, effort) in zip(candidates, self._lesson.fit(fits), strict=True)
        ]

    def _try(self, trials: Sequence[tuple[Student, Targets]]) -> None:
        """Fit and measure each; those that break the budget again at half the size, until they fit."""
        waiting = [
            (_shrinking(student) if self._sizes else iter((student,)), told) for student, told in trials
        ]
        while waiting:
            now = [
                (part, told, smaller)
                for smaller, told in waiting
                if (part := next(smaller, None)) is not None and not self._was_tried(part, told)
            ]
            fits = [_Fit(part, told, self._objective, SEARCH_ORIGINS) for part, told, _ in now]
            waiting = []
            for (part, told, smaller), (fitted, effort) in zip(now, self._lesson.fit(fits), strict=True):
                assessment = self._assess(fitted)
                fits_budget = within(self._budget, assessment)
                self._tried.append(
                    Candidate(part, told, self._objective, fitted, effort, assessment, fits_budget)
                )
                self._progress.advance(1, note=f"{part.name} {_told(told)}")
                if not fits_budget:
                    waiting.append((smaller, told))

    def _was_tried(self, student: Student, targets: Targets) -> bool:
        return any(seen.student == student and seen.targets == targets for seen in self._tried)

    def _is_near(self, family: Student) -> bool:
        """Whether the family's best so far is at most `FAR` times the best of all."""
        best = min(self._tried, key=_order).assessment.loss
        own = min((seen for seen in self._tried if seen.student.name == family.name), key=_order)
        return own.assessment.loss <= FAR * best

    def _best(self, *, twin: bool) -> Candidate:
        return min((seen for seen in self._tried if seen.is_twin == twin), key=_order)


def within(budget: Budget, assessment: Assessment) -> bool:
    """Whether what was measured keeps the budget."""
    latency_kept = budget.latency_ms is None or assessment.latency_us.p99 <= 1000.0 * budget.latency_ms
    size_kept = budget.size_kb is None or assessment.size_bytes <= 1000.0 * budget.size_kb
    return latency_kept and size_kept


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other candidate beats in loss, median latency and size at once, smallest loss first."""
    return tuple(
        one
        for one in sorted(candidates, key=lambda candidate: candidate.assessment.loss)
        if not any(_dominates(other.assessment, one.assessment) for other in candidates)
    )


def _dominates(one: Assessment, other: Assessment) -> bool:
    mine = (one.loss, one.latency_us.p50, one.size_bytes)
    theirs = (other.loss, other.latency_us.p50, other.size_bytes)
    return all(a <= b for a, b in zip(mine, theirs, strict=True)) and mine != theirs


def _order(candidate: Candidate) -> tuple[bool, float]:
    return (not candidate.fits_budget, candidate.assessment.loss)


def _shrinking(student: Student) -> Iterator[Student]:
    size = student.size
    yield student
    while size / 2 >= SMALLEST_SIZE:
        size /= 2
        yield student.resized(size)


def _told(targets: Targets) -> str:
    return "on labels" if targets.labels_only else "on soft targets"
