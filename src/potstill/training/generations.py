"""The teacher and what it has brought up, together: who labels the rows for the next generation.

A search fits dozens of students. Those that are best on the validation rows, weighed with the teacher's own
answers, are an ensemble that costs nothing more and is better than either, most of all where the teacher is
weak. What learns from its answers is a student of the next generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from potstill.teachers.answers import softmax
from potstill.training.candidates import Candidate
from potstill.training.examples import RealTargets, Targets, standardised
from potstill.training.lesson import Lesson
from potstill.transfer.combine import Evidence, mean_loss, select_weights, soften
from potstill.types import Floats, Origin, SoftTargets, Tensors, TransferSet

ASKED = 25
"""So many of the best candidates are asked at most."""

LEAST_WEIGHT = 0.04
"""Who would have less say is not asked about all rows."""

KINDS_TOLD = 2
"""Kinds of target of a generation: those with the most of the label for rows that have one."""


class Generation(NamedTuple):
    """What the students of one generation learn from.

    Parameters
    ----------
    transfer
        The rows, with the answers of all together in place of the teacher's.
    loss
        Of these answers to the validation rows, as candidates are judged by them: log-loss, or squared error
        of standardised values.
    teacher_loss
        The same of the teacher alone.
    """

    transfer: TransferSet
    loss: float
    teacher_loss: float


def next_generation(lesson: Lesson, candidates: Sequence[Candidate]) -> Generation | None:
    """The teacher and the best of ``candidates``, weighed by their answers to the validation rows.

    Parameters
    ----------
    lesson
        What the candidates have learned from.
    candidates
        Fitted without the validation rows.

    Returns
    -------
    None where the teacher alone is best, or where the validation rows were not answered by it.

    References
    ----------
    Furlanello et al. (2018), Born-Again Neural Networks. Caruana et al. (2004), Ensemble Selection from
    Libraries of Models.
    """
    if "held_out" not in lesson.transfer.soft_targets:
        return None
    asked = sorted(candidates, key=lambda one: one.assessment.loss)[:ASKED]
    answers = [_taught(lesson, "held_out"), *(_answered(one, lesson, lesson.valid.tensors) for one in asked)]
    evidence = [_evidence(lesson, np.stack(answers))]
    weights = select_weights(evidence, task=lesson.task)
    weights = np.where(weights >= LEAST_WEIGHT, weights, 0.0)
    weights /= weights.sum()
    members = [(one, weight) for one, weight in zip(asked, weights[1:], strict=True) if weight]
    if not members:
        return None
    soft = {
        origin: _soft_targets(lesson, origin, members, weights[0]) for origin in lesson.transfer.soft_targets
    }
    return Generation(
        TransferSet(lesson.transfer.rows, soft, lesson.transfer.cross_fitted),
        mean_loss(evidence, weights, task=lesson.task),
        mean_loss(evidence, np.eye(len(weights))[0], task=lesson.task),
    )


def kinds_of_generation(number: int, kinds: Sequence[Targets]) -> list[Targets]:
    """What of ``kinds`` a generation is told: labels for the real rows first, which its teachers learned."""
    real: RealTargets = "in_sample" if any(kind.real == "in_sample" for kind in kinds) else kinds[0].real
    synthetic = max(kind.synthetic for kind in kinds)
    told = [
        msgspec.structs.replace(kind, real=real, synthetic=synthetic, corrected=False, generation=number)
        for kind in sorted(kinds, key=lambda kind: -kind.hard_label_weight)
    ]
    return list(dict.fromkeys(told))[:KINDS_TOLD]


def _evidence(lesson: Lesson, answers: Floats) -> Evidence:
    """The labels of the validation rows, into which the teacher's answers are mixed where it is trusted.

    Mixed means each row once for every class, with the weight of that class. Values are left as they are:
    nobody is too sure of them.
    """
    labels, weight = lesson.valid.labels, lesson.valid.weight.astype(np.float64)
    if not lesson.trust or not lesson.task.is_classification:
        return Evidence(answers, labels, weight)
    n_classes = lesson.task.n_outputs
    known = np.eye(n_classes)[labels.astype(np.int64)]
    mixed = (1 - lesson.trust) * known + lesson.trust * answers[0]
    return Evidence(
        np.repeat(answers, n_classes, axis=1),
        np.tile(np.arange(n_classes), len(labels)),
        (weight[:, None] * mixed).ravel(),
    )


def _soft_targets(
    lesson: Lesson, origin: Origin, members: Sequence[tuple[Candidate, float]], teacher_weight: float
) -> SoftTargets:
    mean = teacher_weight * _taught(lesson, origin) if teacher_weight else 0.0
    for member, weight in members:
        mean = mean + weight * _answered(member, lesson, lesson.tensors[origin])
    if not lesson.task.is_classification:
        mean = mean * lesson.scale[0] + lesson.scale[1]
    before = lesson.transfer.soft_targets[origin]
    return SoftTargets(
        members=("generation",),
        probs=np.asarray(mean, dtype=np.float32)[None],
        weights=np.ones(1),
        out_of_fold=before.out_of_fold,
        fold=before.fold,
    )


def _taught(lesson: Lesson, origin: Origin) -> Floats:
    """``(n, K)`` what the teacher answers; values standardised."""
    soft = lesson.transfer.soft_targets[origin]
    if not lesson.task.is_classification:
        return standardised(soft, lesson.scale)
    return soften(soft.probs, soft.weights, 1.0, members=soft.member_temperatures, whole=soft.temperature)


def _answered(candidate: Candidate, lesson: Lesson, tensors: Tensors) -> Floats:
    """``(n, K)`` what a candidate answers, calibrated; values standardised."""
    logits = candidate.fitted.logits(tensors)
    if not lesson.task.is_classification:
        return logits
    return softmax(logits.astype(np.float64) / candidate.assessment.temperature).astype(np.float32)
