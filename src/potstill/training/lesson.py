"""What every candidate of a search learns from, and the fits: side by side, one core each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from potstill.training.examples import LABELS_ONLY, Targets, make_examples
from potstill.types import (
    Examples,
    FeatureSpec,
    FittedStudent,
    Objective,
    Origin,
    Student,
    Task,
    Tensors,
    TransferSet,
)

SEARCH_ORIGINS: tuple[Origin, ...] = ("real", "unlabeled", "synthetic")
REFIT_ORIGINS: tuple[Origin, ...] = ("real", "held_out", "unlabeled", "synthetic")

SKETCH_ROWS = 300
"""Rows of a sketch: its size and speed are of interest, not its answers."""


@dataclass(frozen=True)
class Trial:
    """What one candidate is: a family with its settings, what it is told, and the loss.

    ``long`` is whether it may take all the time that is left.
    """

    student: Student
    targets: Targets
    objective: Objective
    long: bool = False


@dataclass(frozen=True)
class Fit:
    """One fit to be done.

    Parameters
    ----------
    trial
        What to fit.
    effort
        Exactly so much, on the validation rows too; None stops early by them.
    time_limit_s
        Seconds after which training comes to an end by itself; None for as long as it takes.
    """

    trial: Trial
    effort: int | None = None
    time_limit_s: float | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted student, the effort at its best point, and the seconds the fit took."""

    student: FittedStudent
    effort: int
    seconds: float


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
    heavy
        A fit takes minutes: few are tried, and none is repeated with the validation rows.
    trust
        Weight in [0, 1) of the teacher's answers to the validation rows against their labels, where a
        generation is weighed; above 0 where these rows are few.
    generations
        The same rows with other answers than the teacher's, see `Targets.generation`.
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
    heavy: bool = False
    trust: float = 0.0
    generations: tuple[TransferSet, ...] = ()

    def transfer_of(self, targets: Targets) -> TransferSet:
        """The rows with the answers that ``targets`` are made of."""
        return (self.transfer, *self.generations)[targets.generation]

    def fit(self, fits: Sequence[Fit]) -> list[Fitted]:
        """Fit each, side by side where there are workers; in the order given."""
        if self.workers == 1 or len(fits) < 2:
            return [_fitted(self, one) for one in fits]
        # Arrays are shared by way of files; opened to be read alone they would make torch warn of it.
        side_by_side = Parallel(n_jobs=self.workers, batch_size=1, mmap_mode="c")
        return list(side_by_side(delayed(_fitted)(self, one) for one in fits))

    def sketch(self, trial: Trial) -> FittedStudent:
        """``trial`` fitted for one round on a few labelled rows: for what it weighs, not for its answers."""
        told = make_examples(
            self.transfer, self.tensors, LABELS_ONLY, temperature=1.0, origins=("real",), scale=self.scale
        )
        few = slice(0, SKETCH_ROWS)
        examples = Examples(
            tensors={name: values[few] for name, values in told.tensors.items()},
            teacher_probs=told.teacher_probs[few],
            labels=told.labels[few],
            hard_weight=told.hard_weight[few],
            weight=np.ones_like(told.weight[few]),
        )
        return _run(self, Fit(trial, effort=1), examples).student


def _fitted(lesson: Lesson, fit: Fit) -> Fitted:
    examples = make_examples(
        lesson.transfer_of(fit.trial.targets),
        lesson.tensors,
        fit.trial.targets,
        temperature=fit.trial.objective.temperature,
        origins=SEARCH_ORIGINS if fit.effort is None else REFIT_ORIGINS,
        scale=lesson.scale,
    )
    return _run(lesson, fit, examples)


def _run(lesson: Lesson, fit: Fit, examples: Examples) -> Fitted:
    """Fit on one core: where cores are few and shared, fits side by side are the faster."""
    begin = time.perf_counter()
    with threadpool_limits(limits=1):
        student, effort = fit.trial.student.fit(
            examples,
            lesson.valid if fit.effort is None else None,
            spec=lesson.spec,
            task=lesson.task,
            objective=fit.trial.objective,
            seed=lesson.seed,
            effort=fit.effort,
            time_limit_s=fit.time_limit_s,
            device=lesson.device,
        )
    return Fitted(student, effort, time.perf_counter() - begin)
