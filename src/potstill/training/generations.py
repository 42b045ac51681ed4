"""The teacher and what it has brought up, together: who labels the rows for the next generation.

A search fits dozens of students. Those that are best on the validation rows, weighed with the teacher's own
answers, are an ensemble that costs nothing more and is better than either, most of all where the teacher is
weak. What learns from its answers is a student of the next generation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from potstill.training.candidates import Candidate
from potstill.training.examples import standardised
from potstill.training.lesson import Lesson
from potstill.transfer.combine import Evidence, select_weights, soften
from potstill.types import Doubles, Floats, Origin, SoftTargets, Tensors, TransferSet

ASKED = 25
"""So many of the best candidates are asked at most."""

LEAST_WEIGHT = 0.04
"""Who would have less say is not asked about all rows."""

SMALLEST = 1e-12
"""Probability below which no loss is counted."""


@dataclass(frozen=True)
class Generation:
    """Whose answers the students of one generation learn from.

    Parameters
    ----------
    transfer
        The rows with these answers.
    members
        Candidates among those that answer.
    weights
        ``(1 + members,)`` of the teacher and of each of them, sum 1.
    loss
        Of these answers to the validation rows: log-loss, or squared error of standardised values.
    """

    transfer: TransferSet
    members: tuple[Candidate, ...]
    weights: Doubles
    loss: float


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
    evidence = Evidence(np.stack(answers), lesson.valid.labels, lesson.valid.weight.astype(np.float64))
    chosen = select_weights([evidence], task=lesson.task)
    chosen = np.where(chosen >= LEAST_WEIGHT, chosen, 0.0)
    heard = np.array([0, *(np.flatnonzero(chosen[1:]) + 1)])
    if len(heard) == 1:
        return None
    members, weights = [asked[at - 1] for at in heard[1:]], chosen[heard] / chosen.sum()
    soft = {
        origin: _soft_targets(lesson, origin, members, weights) for origin in lesson.transfer.soft_targets
    }
    transfer = TransferSet(lesson.transfer.rows, soft, lesson.transfer.cross_fitted)
    together = np.einsum("m,mnk->nk", weights, evidence.answers[heard])
    return Generation(transfer, tuple(members), weights, _loss(together.astype(np.float32), lesson))


def taught_loss(lesson: Lesson) -> float:
    """Loss of the teacher's answers to the validation rows; infinite where it did not answer them."""
    if "held_out" not in lesson.transfer.soft_targets:
        return math.inf
    return _loss(_taught(lesson, "held_out"), lesson)


def _loss(answers: Floats, lesson: Lesson) -> float:
    """Weighted mean log-loss of ``(n, K)`` probabilities, or squared error of standardised values."""
    valid = lesson.valid
    if lesson.task.is_classification:
        own = answers[np.arange(len(answers)), valid.labels.astype(np.int64)]
        losses = -np.log(np.maximum(own.astype(np.float64), SMALLEST))
    else:
        losses = np.square(answers[:, 0].astype(np.float64) - valid.labels)
    return float(np.average(losses, weights=valid.weight))


def _soft_targets(
    lesson: Lesson, origin: Origin, members: Sequence[Candidate], weights: Doubles
) -> SoftTargets:
    mean = weights[0] * _taught(lesson, origin) if weights[0] else 0.0
    for weight, member in zip(weights[1:], members, strict=True):
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
    return soften(_softmax(logits)[None], np.ones(1), candidate.assessment.temperature)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
