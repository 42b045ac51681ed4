"""The best student under a budget, and the best twin: same families, same sizes, same number of fits each.

The search is a fixed, small plan rather than an open-ended one, so that a seed decides its result:

1. every family at its own size, as a student and as a twin;
2. the other kinds of target for the leading family;
3. the leading student and the leading twin, each at other sizes.

Every candidate is exported and measured by the caller's `assess`; one that breaks the budget is shrunk until
it fits. All choices are made on validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

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

SMALLEST_SIZE = 1 / 16
"""Below this size a family that still breaks the budget is given up."""

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
    """

    transfer: TransferSet
    tensors: Mapping[Origin, Tensors]
    valid: Examples
    spec: FeatureSpec
    task: Task
    scale: tuple[float, float] = (1.0, 0.0)
    seed: int = 0
    device: str = "cpu"

    def examples(
        self,
        targets: Targets,
        objective: Objective,
        *,
        origins: Sequence[Origin] = ("real", "unlabeled", "synthetic"),
    ) -> Examples:
        """The training examples under ``targets``."""
        return make_examples(
            self.transfer,
            self.tensors,
            targets,
            temperature=objective.temperature,
            origins=origins,
            scale=self.scale,
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
            Kinds of target to try; every family gets the first, the leading family the others too.
        free_size
            Whether the size of a family may be changed; False takes the parts as they are.
        """
        self._sizes = SIZES if free_size else ()
        fits = 2 * len(families) + len(targets) - 1 + 2 * len(self._sizes)
        self._progress.start("searching the student", fits)
        for family in families:
            self._try(family, LABELS_ONLY)
            self._try(family, targets[0])
        leader = self._best(twin=False)
        for other in targets[1:]:
            self._try(leader.student, other)
        for twin in (False, True):
            best = self._best(twin=twin)
            for size in self._sizes:
                self._try(best.student.resized(best.student.size * size), best.targets)
        twin_found = self._best(twin=True)
        distilled = self._best(twin=False)
        student = min((twin_found, distilled), key=_order)
        return Found(student=student, twin=twin_found, candidates=tuple(self._tried))

    def refit(self, candidate: Candidate) -> Candidate:
        """``candidate`` fitted again with the held-out rows too, for as long as was best."""
        lesson = self._lesson
        examples = lesson.examples(candidate.targets, candidate.objective, origins=REFIT_ORIGINS)
        fitted, effort = candidate.student.fit(
            examples,
            None,
            spec=lesson.spec,
            task=lesson.task,
            objective=candidate.objective,
            seed=lesson.seed,
            effort=candidate.effort,
            device=lesson.device,
        )
        return replace(candidate, fitted=fitted, effort=effort)

    def _try(self, student: Student, targets: Targets) -> None:
        """Fit and measure ``student``; while it breaks the budget, do so at half the size."""
        for part in _shrinking(student) if self._sizes else (student,):
            if any(seen.student == part and seen.targets == targets for seen in self._tried):
                break
            candidate = self._fit(part, targets)
            self._tried.append(candidate)
            if candidate.fits_budget:
                break
        self._progress.advance(1, note=f"{student.name} {_told(targets)}")

    def _fit(self, student: Student, targets: Targets) -> Candidate:
        lesson = self._lesson
        fitted, effort = student.fit(
            lesson.examples(targets, self._objective),
            lesson.valid,
            spec=lesson.spec,
            task=lesson.task,
            objective=self._objective,
            seed=lesson.seed,
            device=lesson.device,
        )
        assessment = self._assess(fitted)
        return Candidate(
            student=student,
            targets=targets,
            objective=self._objective,
            fitted=fitted,
            effort=effort,
            assessment=assessment,
            fits_budget=within(self._budget, assessment),
        )

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
