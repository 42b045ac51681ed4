"""What a search has tried, what each candidate measured, and which of them are worth keeping."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from potstill.training.examples import Targets
from potstill.training.lesson import Trial
from potstill.types import Budget, FittedStudent, Latency, Objective, Student

Role = Literal["student", "twin", "twin_smoothed"]

AS_CLOSE = 1.2
"""Of candidates that break the budget, those within this factor of each other are as close to it."""


@dataclass(frozen=True)
class Assessment:
    """What a fitted candidate measured: exported, timed and scored on validation rows after calibration.

    Parameters
    ----------
    loss
        Log-loss on the validation rows, or RMSE in the target's unit; lower is better. Where they are few,
        the teacher's answers count beside the labels.
    temperature
        The calibration's temperature; 1 for regression.
    size_bytes, latency_us
        Of the exported file.
    memory_bytes
        What opening the file and answering a row adds to a process; None where no budget asks for it.
    """

    loss: float
    temperature: float
    size_bytes: int
    latency_us: Latency
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Candidate:
    """One fitted student, what it was told and what it measured.

    Parameters
    ----------
    trial
        Family, targets and loss.
    fitted, effort, seconds
        The fitted student, the rounds or epochs at its best point, what the fit took.
    assessment
        What it measured.
    excess
        The largest of what was measured over what the budget allows.
    cut_short
        Whether a time limit ended the fit.
    """

    trial: Trial
    fitted: FittedStudent
    effort: int
    seconds: float
    assessment: Assessment
    excess: float
    cut_short: bool = False

    @property
    def fits_budget(self) -> bool:
        """Whether what was measured keeps the budget."""
        return self.excess <= 1.0

    @property
    def student(self) -> Student:
        return self.trial.student

    @property
    def targets(self) -> Targets:
        return self.trial.targets

    @property
    def objective(self) -> Objective:
        return self.trial.objective

    @property
    def role(self) -> Role:
        """``student``, or what kind of twin: told the labels, or the labels smoothed."""
        if not self.targets.labels_only:
            return "student"
        return "twin_smoothed" if self.targets.smoothing else "twin"

    @property
    def settings(self) -> str:
        """Where its family's settings are not the default, in a few words: ``leaves 62``; empty otherwise."""
        default = type(self.student)()
        changed = [
            f"{name} {value}"
            for name in self.student.__struct_fields__
            if name not in ("size", "checkpoint", "tuned")
            and (value := getattr(self.student, name)) != getattr(default, name)
        ]
        return ", ".join(word.replace("_", " ") for word in changed)

    @property
    def told(self) -> str:
        """What it was told, in a few words: ``0.5 label, out of fold, synthetic``."""
        targets = self.targets
        if targets.labels_only:
            return f"labels smoothed by {targets.smoothing:g}" if targets.smoothing else "labels alone"
        words = [f"{targets.hard_label_weight:g} label"]
        if targets.hard_label_weight < 1.0:
            words.append(targets.real.replace("_", " ") + (", corrected" if targets.corrected else ""))
        words.append("synthetic" if targets.synthetic else "no synthetic")
        if 0 < targets.synthetic < 1:
            words[-1] = f"{targets.synthetic:.0%} synthetic"
        if self.objective.temperature != 1.0:
            words.append(f"T {self.objective.temperature:g}")
        if targets.generation:
            words.append(f"generation {targets.generation}")
        return ", ".join(words)

    @property
    def is_twin(self) -> bool:
        """Whether no teacher had a say in it."""
        return self.targets.labels_only


@dataclass(frozen=True)
class Found:
    """What a search found under a budget.

    Parameters
    ----------
    student
        The winner, which may be a twin.
    twin
        The best of those told labels alone.
    twin_smoothed
        The best of those told smoothed labels; None where none was tried (regression).
    candidates
        All that was tried.
    """

    student: Candidate
    twin: Candidate
    twin_smoothed: Candidate | None
    candidates: tuple[Candidate, ...]

    @property
    def twin_ships(self) -> bool:
        return self.student.is_twin


def choose(candidates: Sequence[Candidate]) -> Found:
    """The winner and the baselines among ``candidates``; of equals a twin wins, then the earlier."""
    twin = min((one for one in candidates if one.role == "twin"), key=order)
    smoothed = min((one for one in candidates if one.role == "twin_smoothed"), key=order, default=None)
    distilled = min((one for one in candidates if one.role == "student"), key=order)
    contenders = (twin, distilled) if smoothed is None else (twin, smoothed, distilled)
    return Found(min(contenders, key=order), twin, smoothed, tuple(candidates))


def under(budget: Budget, candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The same candidates, judged by another budget."""
    return tuple(replace(one, excess=excess(budget, one.assessment)) for one in candidates)


def order(candidate: Candidate) -> tuple[bool, int, float]:
    """Sort key: those that keep the budget first, by loss; then the closest to it, by loss where as close."""
    far = 0 if candidate.fits_budget else round(math.log(candidate.excess) / math.log(AS_CLOSE))
    return not candidate.fits_budget, far, candidate.assessment.loss


def excess(budget: Budget, assessment: Assessment) -> float:
    """The largest of what was measured over what is allowed; at most 1 where the budget is kept."""
    return max((cost / allowed for cost, allowed in costs(budget, assessment).values()), default=0.0)


def costs(budget: Budget, assessment: Assessment) -> dict[str, tuple[float, float]]:
    """What was measured and what is allowed, of everything the budget limits."""
    limited = {}
    if budget.latency_ms is not None:
        limited["latency"] = (assessment.latency_us.p99, 1000.0 * budget.latency_ms)
    if budget.size_kb is not None:
        limited["size"] = (float(assessment.size_bytes), 1000.0 * budget.size_kb)
    if budget.memory_mb is not None and assessment.memory_bytes is not None:
        limited["memory"] = (float(assessment.memory_bytes), 1e6 * budget.memory_mb)
    return limited


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates by loss, smallest first: an order that a seed decides, where no clock took part."""
    return sorted(candidates, key=lambda candidate: candidate.assessment.loss)


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
